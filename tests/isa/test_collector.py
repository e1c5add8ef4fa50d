"""The collector is held back inside the block only, and by one thread at a time."""

import gc
import threading

import pytest

from syurmy.isa import collector


def test_held_back():
    assert gc.isenabled()
    with collector.held_back():
        assert not gc.isenabled()
        with collector.held_back():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="inside"), collector.held_back():
        raise ValueError("inside")
    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    try:
        with collector.held_back():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_first_of_several_threads_decides():
    inside, go = threading.Event(), threading.Event()

    def second():
        with collector.held_back():
            inside.set()
            go.wait(10)

    thread = threading.Thread(target=second)
    with collector.held_back():
        thread.start()
        assert inside.wait(10)
    assert gc.isenabled()  # though the second is not done
    go.set()
    thread.join()
    assert gc.isenabled()
