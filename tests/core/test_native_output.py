import os

import pytest

from oekd_tf.core.native_output import quiet_native_output


def test_discards_what_is_written_below_python(capfd):
    with quiet_native_output():
        os.write(2, b"chatter")
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_shows_it_when_the_block_fails(capfd):
    def fail():
        os.write(2, b"the reason\n")
        raise RuntimeError

    with pytest.raises(RuntimeError), quiet_native_output():
        fail()
    assert capfd.readouterr().err == "the reason\n"
