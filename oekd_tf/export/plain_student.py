"""What every file of a student is made of: the student in float32, alone."""

import keras


def plain_student(student: keras.Model) -> keras.Model:
    """A copy of a student in float32, outside of any distribution strategy.

    Exports are then the same whatever precision and devices the student was trained with.

    Args:
        student: Functional model from raw images to logits.

    Returns:
        A model of the same layers and weights.

    Example:
        >>> plain_student(ensemble.students[-1]).predict(images)
    """

    def in_float32(operation: keras.Operation) -> keras.Operation:
        config = operation.get_config()
        if isinstance(operation, keras.Layer):
            config["dtype"] = "float32"
        return type(operation).from_config(config)

    # A compiled model's clone would be compiled too, of losses that Keras cannot always restore.
    graph = keras.Model(student.inputs[0], student.outputs[0], name=student.name)
    copy = keras.models.clone_model(graph, clone_function=in_float32)
    copy.set_weights(student.get_weights())
    return copy
