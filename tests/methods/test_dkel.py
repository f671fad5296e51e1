"""DKEL: independent averages, their first batches, the decaying ensemble, and terms by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import (
    cross_entropy,
    data,
    kl,
    look,
    mean_logits,
    network_of,
    ramp,
    small,
    soft,
    spread_logits,
    values,
)  # fmt: skip

from oekd_tf import methods
from oekd_tf.methods import Progress


def averages(ensemble, variables):
    return values([ensemble.method.moving_averages.of(v) for v in variables])


def each_by_hand(means, logits):
    count = len(logits)
    return sum(
        kl(means[j], logits[i], 3.0).mean() / (count - 1)
        for i in range(count)
        for j in range(count)
        if i != j
    )


def together_by_hand(means, logits):
    return sum(kl(np.delete(means, i, 0).mean(0), own, 3.0).mean() for i, own in enumerate(logits))


def share_by_hand(epoch, decay=0.5):
    """ε(e) = exp(−0.5 e), and 0 from where it is 0.01."""
    share = np.exp(-decay * epoch)
    return share if share > 0.01 else 0.0


class TestDecayingEnsemble:
    def test_share(self):
        method = methods.DKEL()
        for epoch in (0, 1, 2, 5, 9, 10, 11, 100, 300):
            # In a training of 30 epochs all is ten times as fast as in one of 300.
            for steps, epochs in ((4, 300), (40, 30)):
                progress = Progress(4 * epoch, steps_per_epoch=steps, epochs=epochs)
                found = float(method.ensemble_share(progress))
                assert found == pytest.approx(share_by_hand(epoch), rel=1e-4, abs=1e-7)

    def test_literal_values(self):
        method = methods.DKEL()
        shares = [
            float(method.ensemble_share(Progress(e, steps_per_epoch=1, epochs=300)))
            for e in (0, 1, 2, 9, 10)
        ]
        np.testing.assert_allclose(shares, [1, 0.60653, 0.36788, 0.011109, 0], rtol=1e-4)
        assert method.ensemble_share(Progress()) == 0
        other = methods.DKEL(decaying_ensemble=0.0)
        assert float(other.ensemble_share(Progress(200, steps_per_epoch=1, epochs=300))) == 1

    @pytest.mark.parametrize(("epoch", "views"), [(0, 0), (1, 3), (20, 0)])
    def test_terms(self, epoch, views):
        ensemble = spread_logits(small("dkel"))
        for student in ensemble.students:
            kernel = ensemble.method.moving_averages.of(student.layers[-1].kernel)
            kernel.assign(8 * kernel)
        ensemble.plan(steps_per_epoch=1, epochs=300)
        ensemble.optimizer.iterations.assign(epoch)
        images, labels = data(views=views)
        means = mean_logits(ensemble, images)
        outputs, logits, terms = look(ensemble, images, labels, training=True)
        head = np.asarray(outputs["teacher"], np.float64)
        share = share_by_hand(epoch)
        together, each = together_by_hand(means, logits), each_by_hand(means, logits)
        # A mean of logits is nearer than the mean of distances.
        assert together < 0.95 * each
        expected = {
            "label_loss": cross_entropy(labels, logits).sum(0).mean(),
            "teacher_label_loss": cross_entropy(labels, head).mean(),
            "distillation_loss": (
                kl(head, logits, 3.0).sum(0).mean() + share * together + (1 - share) * each
            ),
        }
        for name, value in expected.items():
            assert terms[name] == pytest.approx(value, rel=2e-3), name

    def test_one_weight_of_a_tenth(self):
        """0.1 w(e) on both divergences, 1 on the labels of students and head."""
        ensemble = spread_logits(small("dkel", optimizer=keras.optimizers.SGD(0.0), norm=False))
        images, labels = data()
        for step in range(4):
            ensemble.reset_metrics()
            logs = ensemble.train_on_batch(images, labels, return_dict=True)
            expected = (
                logs["label_loss"]
                + logs["teacher_label_loss"]
                + 0.1 * ramp(step) * logs["distillation_loss"]
            )
            assert logs["loss"] == pytest.approx(expected, rel=1e-4)
        assert ensemble.method.temperature == 3.0

    def test_evaluation(self):
        """Students are then the averages, and the ensemble has no share any more."""
        ensemble = spread_logits(small("dkel"))
        images, labels = data()
        networks = [network_of(ensemble, i) for i in range(3)]
        outputs, logits, terms = look(ensemble, images, labels)
        for network, own in zip(networks, logits, strict=True):
            np.testing.assert_allclose(network(images, training=False), own, atol=1e-4)
        head = np.asarray(outputs["teacher"], np.float64)
        expected = kl(head, logits, 3.0).sum(0).mean() + each_by_hand(logits, logits)
        assert terms["distillation_loss"] == pytest.approx(expected, rel=1e-3)


class TestAverages:
    def test_they_begin_at_other_values(self):
        ensemble, again = small("dkel"), small("dkel")
        for student, same in zip(ensemble.students, again.students, strict=True):
            for variable, other in zip(
                student.trainable_variables, same.trainable_variables, strict=True
            ):
                average = averages(ensemble, [variable])[0]
                if variable.name == "kernel":
                    assert np.abs(variable.numpy() - average).min() > 0
                    # Drawn from the same distribution.
                    assert average.std() == pytest.approx(variable.numpy().std(), rel=0.5)
                else:
                    np.testing.assert_array_equal(variable, average)
                # By the seed.
                np.testing.assert_array_equal(average, averages(again, [other])[0])

    @pytest.mark.parametrize("decay", [0.999, 0.9, None])
    def test_three_steps(self, decay):
        """One decay from the first step on; without one what leaves a thousandth at the end."""
        ensemble = small("dkel", ema_decay=decay, optimizer=keras.optimizers.SGD(0.3))
        variables = {id(v): v for s in ensemble.students for v in s.trainable_variables}
        variables = [*variables.values(), *ensemble.method.head.variables]
        expected = averages(ensemble, variables)
        # Eight steps are planned.
        used = decay or 0.001 ** (1 / 8)
        assert used == decay or used == pytest.approx(0.42170, rel=1e-4)
        for step in range(3):
            ensemble.train_on_batch(*data(seed=step))
            now = values(variables)
            expected = [used * a + (1 - used) * v for a, v in zip(expected, now, strict=True)]
            for average, value in zip(averages(ensemble, variables), expected, strict=True):
                np.testing.assert_allclose(average, value, rtol=1e-4, atol=1e-6)

    def test_decay_by_the_length_of_the_training(self):
        method = methods.DKEL()
        assert float(method.average_decay(Progress(1, 1000, 100))) == 0.999
        assert float(method.average_decay(Progress(1, 6905, 1))) == 0.999
        short = float(method.average_decay(Progress(1, 6904, 1)))
        assert 0.99899 < short < 0.999
        # A thousandth of the initial values is left at the end.
        for steps in (10, 500, 6904):
            assert float(method.average_decay(Progress(1, steps, 1))) ** steps == pytest.approx(
                0.001, rel=1e-3
            )
        given = methods.DKEL(ema_decay=0.5)
        assert given.average_decay(Progress(1, 10, 1)) == given.average_decay(Progress()) == 0.5

    def test_exported(self):
        ensemble = small("dkel", optimizer=keras.optimizers.SGD(0.3))
        images, labels = data()
        for _ in range(3):
            ensemble.train_on_batch(images, labels)
        outputs = ensemble.predict(images, verbose=0)
        for index, model in enumerate(ensemble.exported_models()):
            student = ensemble.students[index]
            for own, average in zip(
                values(model.variables), averages(ensemble, student.variables), strict=True
            ):
                np.testing.assert_array_equal(own, average)
            logits = model(images, training=False)
            np.testing.assert_allclose(outputs[student.name], logits, atol=1e-4)
            assert np.abs(np.asarray(student(images)) - logits).max() > 1e-2


def first_steps(ensemble, batches, rate):
    """Plain SGD on the mean teachers, which share a stem; values by variable of the students."""
    # One copy of the stem's variables: networks of Keras layers that are shared.
    shared = {}
    networks = [network_of(ensemble, i) for i in range(3)]
    for images, labels in batches:
        with tf.GradientTape() as tape:
            loss = 0.0
            for index, network in enumerate(networks):
                seen = images[:, index] if images.ndim == 5 else images
                logits = network(seen, training=True)
                loss += tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
                )
        variables = [network.trainable_variables for network in networks]
        gradients = tape.gradient(loss, [[v.value for v in own] for own in variables])
        total = {}
        for student, found in zip(ensemble.students, gradients, strict=True):
            for variable, gradient in zip(student.trainable_variables, found, strict=True):
                total[id(variable)] = total.get(id(variable), 0) + gradient
        for student, own in zip(ensemble.students, variables, strict=True):
            for variable, copied in zip(student.trainable_variables, own, strict=True):
                copied.assign(copied - rate * total[id(variable)])
    for student, network in zip(ensemble.students, networks, strict=True):
        for variable, copied in zip(student.variables, network.variables, strict=True):
            shared[id(variable)] = copied.numpy()
    return shared


def started(ensemble, images, labels):
    """After the mean teachers' batches, before the first step."""
    arguments = {"x": images, "y": labels, "batch_size": 8}
    ensemble.method.before_training(ensemble, arguments)


class TestFirstBatches:
    @pytest.mark.parametrize("views", [0, 3])
    def test_branches_by_hand(self, views):
        """SGD at a share of the ensemble's rate, on the labels, in training mode."""
        ensemble = small(
            "dkel", initial_batches=1, initial_rate=2.0, optimizer=keras.optimizers.SGD(0.25)
        )
        images, labels = data(views=views, count=16)
        expected = first_steps(ensemble, [(images[:8], labels[:8])], rate=0.5)
        before = values(ensemble.students[0].variables)
        kernels = [v for v in ensemble.students[0].variables if v.name == "kernel"]
        begun = averages(ensemble, kernels)
        started(ensemble, images, labels)
        for student in ensemble.students:
            for variable in student.variables:
                if not variable.path.startswith("stem"):
                    found = averages(ensemble, [variable])[0]
                    np.testing.assert_allclose(
                        found, expected[id(variable)], rtol=1e-3, atol=1e-5, err_msg=variable.path
                    )
        # Students themselves have not moved, averages have.
        for variable, old in zip(ensemble.students[0].variables, before, strict=True):
            np.testing.assert_array_equal(variable, old)
        after = averages(ensemble, kernels)
        assert all(np.abs(a - b).max() > 1e-5 for a, b in zip(after, begun, strict=True))

    def test_one_stem_by_hand(self):
        """Of two batches; the stem has the sum of all students' gradients."""
        ensemble = small(
            "dkel", initial_batches=2, initial_rate=2.0, optimizer=keras.optimizers.SGD(0.25)
        )
        images, labels = data(count=16)
        parts = [(images[:8], labels[:8]), (images[8:], labels[8:])]
        expected = first_steps(ensemble, parts, rate=0.5)
        started(ensemble, images, labels)
        for student in ensemble.students:
            for variable in student.variables:
                np.testing.assert_allclose(
                    averages(ensemble, [variable])[0], expected[id(variable)],
                    rtol=1e-3, atol=1e-5, err_msg=variable.path,
                )  # fmt: skip

    @pytest.mark.parametrize(
        ("arguments", "moved"),
        [
            ({}, True),
            ({"initial_batches": 0}, False),
            ({"initial_rate": 0.0}, False),
            ({"teachers": "ensemble"}, False),
        ],
    )
    def test_fit_begins_with_them(self, arguments, moved):
        """A decay of nearly 1 leaves the averages as they were after their own batches."""
        optimizer = keras.optimizers.SGD(1.0)
        ensemble = small("dkel", ema_decay=1 - 1e-9, optimizer=optimizer, **arguments)
        variables = {id(v): v for s in ensemble.students for v in s.trainable_variables}.values()
        before = averages(ensemble, variables)
        images, labels = data(count=16)
        fit = {"batch_size": 8, "shuffle": False, "verbose": 0}
        ensemble.fit(images, labels, **fit)
        after = averages(ensemble, variables)
        changes = [np.abs(a - b).max() for a, b in zip(after, before, strict=True)]
        assert max(changes) > 1e-4 if moved else max(changes) < 1e-6
        # Once: a training that goes on has had them.
        ensemble.fit(images, labels, **fit)
        again = averages(ensemble, variables)
        assert max(np.abs(a - b).max() for a, b in zip(again, after, strict=True)) < 1e-6

    @pytest.mark.parametrize("form", ["column", "soft and weighted"])
    def test_labels_of_every_form(self, form):
        ensemble = small("dkel", initial_rate=1.0)
        images, labels = data(count=16)
        given = (images, labels[:, None])
        if form == "soft and weighted":
            parts = (images, soft(16), np.linspace(0.1, 1, 16).astype(np.float32))
            given = (tf.data.Dataset.from_tensor_slices(parts).batch(8),)
        before = averages(ensemble, ensemble.students[2].trainable_variables)
        logs = ensemble.fit(*given, batch_size=8 if len(given) == 2 else None, verbose=0).history
        assert np.isfinite(logs["loss"]).all()
        after = averages(ensemble, ensemble.students[2].trainable_variables)
        assert max(np.abs(a - b).max() for a, b in zip(after, before, strict=True)) > 0

    def test_a_generator_loses_none(self):
        """Training has the batches that mean teachers have had."""
        batches = [data(seed=seed) for seed in range(4)]
        ensembles = []
        for form in ("generator", "data set"):
            ensemble = small("dkel", initial_rate=1.0)
            given = (batch for batch in batches)
            if form == "data set":
                given = tf.data.Dataset.from_generator(
                    lambda: iter(batches),
                    output_signature=tuple(
                        tf.TensorSpec((None, *a.shape[1:]), a.dtype) for a in batches[0]
                    ),
                )
            ensemble.fit(given, steps_per_epoch=4, verbose=0)
            assert int(ensemble.optimizer.iterations) == 4
            ensembles.append(ensemble)
        for one, other in zip(*(e.get_weights() for e in ensembles), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batches", [-1, 1.5, True, "2"])
def test_initial_batches_must_be_whole(batches):
    with pytest.raises(ValueError, match=r"^initial_batches must be a whole number .*Received"):
        methods.DKEL(initial_batches=batches)
