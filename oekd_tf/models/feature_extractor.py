"""A student without its classifier: its features as a model of its own."""

import keras


def feature_extractor(student: keras.Model) -> keras.Model:
    """What a student knows of an image before it names a class: for retrieval or few-shot learning.

    The model shares its weights with the student, so that it follows its training.

    Args:
        student: A student of an ensemble, or one that was trained alone: a functional model that
            ends with a dense classifier.

    Returns:
        A model named `<student>_features` from raw images to features, (batch, channels).

    Raises:
        ValueError: The model does not end with a dense layer.

    Example:
        >>> embed = oekd_tf.feature_extractor(ensemble.students[4])
        >>> features = embed.predict(images)
    """
    last = student.layers[-1] if isinstance(student, keras.Model) and student.layers else None
    if not isinstance(last, keras.layers.Dense) or not getattr(student, "inputs", None):
        raise ValueError(
            "student must be a functional model that ends with a dense classifier. "
            f"Received: {student!r}"
        )
    name = f"{student.name}_features"
    features = last.input
    # Features may be in half precision.
    features = keras.layers.Activation("linear", dtype="float32", name=f"{name}_out")(features)
    return keras.Model(student.inputs[0], features, name=name)
