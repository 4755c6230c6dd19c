"""The one place that waits by looking again: for states of other programs that send no event."""
import time


class TooLate(AssertionError):
    pass


def wait_for(look, seconds=10.0, what="", every=0.01):
    """Returns the first truthy answer of look(); raises after the deadline, with its last answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TooLate(f"not within {seconds} s: {what or look.__name__} (last answer: {answer!r})")
        time.sleep(every)
