"""Ctrl-C while exceptions would be swallowed."""

import os
import signal
import threading

import pytest

from trt_int8.engine.interrupts import Interrupts


def press():
    os.kill(os.getpid(), signal.SIGINT)


def test_it_is_held_back_until_somebody_asks():
    interrupts = Interrupts()
    with interrupts.held():
        assert not interrupts.pending
        press()
        press()
        assert interrupts.pending
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_is_raised_at_once_in_the_users_loader():
    interrupts = Interrupts()
    with interrupts.held(), pytest.raises(KeyboardInterrupt), interrupts.loading():
        press()
    assert interrupts.pending


def test_a_callback_ends_at_its_beginning_or_when_it_is_pressed_again():
    interrupts = Interrupts()
    with interrupts.held():
        with interrupts.callback():
            press()
        with pytest.raises(KeyboardInterrupt), interrupts.callback():
            raise AssertionError("it began")
        again = Interrupts()
    with again.held(), again.callback():
        press()
        with pytest.raises(KeyboardInterrupt):
            press()


def test_an_error_inside_is_not_hidden():
    with pytest.raises(ValueError, match="inside"), Interrupts().held():
        raise ValueError("inside")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_get_no_signals():
    done = []

    def work():
        with Interrupts().held():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.default_int_handler]
