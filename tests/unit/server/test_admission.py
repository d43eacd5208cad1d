"""The room of a server: what is held is counted, and given back whatever happens."""

import pytest

from tinyunet.server.admission import BODIES, Admission
from tinyunet.server.errors import RequestError


def refusal(admission: Admission, count: int, height: int, width: int) -> tuple[int, int]:
    """Return the status and the waiting time of a refusal."""
    with pytest.raises(RequestError) as caught, admission.hold_images(count, height, width):
        pass
    return caught.value.status, caught.value.retry_after_s


def test_images_are_refused_while_there_is_no_room_and_admitted_after() -> None:
    admission = Admission(images=3, pixels=1000, body=10)
    with admission.hold_images(2, 10, 10):
        assert refusal(admission, 2, 1, 1) == (429, 1)
        assert refusal(admission, 1, 30, 30) == (429, 1), "800 of 1000 pixels are left"
        with admission.hold_images(1, 20, 40):
            assert (admission.images, admission.pixels) == (3, 1000)
    assert (admission.images, admission.pixels) == (0, 0)
    with admission.hold_images(3, 1, 1):
        pass


def test_what_never_fits_is_an_error_of_the_request_and_not_of_the_moment() -> None:
    admission = Admission(images=3, pixels=1000, body=10)
    assert refusal(admission, 1, 40, 40) == (413, 0)
    assert refusal(admission, 4, 1, 1) == (413, 0)


def test_the_room_is_given_back_after_an_error() -> None:
    admission = Admission(images=3, pixels=1000, body=10)

    def fail() -> None:
        with admission.hold_images(1, 1, 1), admission.hold_body() as body:
            body.grow(10)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert (admission.images, admission.pixels, admission.bytes) == (0, 0, 0)


def test_a_body_grows_to_its_limit_and_all_bodies_to_theirs() -> None:
    admission = Admission(images=1, pixels=1, body=10)
    with admission.hold_body() as body:
        body.grow(10)
        with pytest.raises(RequestError, match="11 bytes or more; expected at most 10") as caught:
            body.grow(11)
        assert caught.value.status == 413
        body.grow(4)
        assert admission.bytes == 10, "what was read stays"
        admission.bytes = BODIES * 10
        with admission.hold_body() as other, pytest.raises(RequestError) as caught:
            other.grow(1)
        assert (caught.value.status, caught.value.retry_after_s) == (429, 1)


def test_the_time_after_which_a_retry_is_worth_it_follows_the_measured_times() -> None:
    admission = Admission(images=10, pixels=10**6, body=10)
    for _ in range(50):
        admission.measured(2.0)
    with admission.hold_images(10, 1, 1):
        status, seconds = refusal(admission, 1, 1, 1)
    assert status == 429
    assert 19 <= seconds <= 20
