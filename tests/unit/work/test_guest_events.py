"""What a guest is told of itself: to it alone, of the kinds it asked for, and not for ever to one that does not read."""

from hutch.work.guest_events import TYPES, GuestEvents


async def test_a_guest_hears_of_itself_what_it_asked_for() -> None:
    events = GuestEvents()
    own, other, choosy = (
        events.subscribe("default", "one", TYPES),
        events.subscribe("default", "two", TYPES),
        events.subscribe("default", "one", ["device"]),
    )
    events.send("default", "one", "config", {"key": "user.a"})
    assert own.queue.get_nowait() is not None
    assert other.queue.empty()
    assert choosy.queue.empty()


async def test_who_does_not_read_is_cut_off_and_costs_no_more() -> None:
    events = GuestEvents()
    slow, quick = events.subscribe("p", "one", TYPES), events.subscribe("p", "one", TYPES)
    for number in range(1000):
        events.send("p", "one", "config", {"key": str(number)})
        assert quick.queue.get_nowait() is not None
    assert slow.queue.qsize() == 1
    assert slow.queue.get_nowait() is None


async def test_the_end_of_a_guests_door_ends_its_streams() -> None:
    events = GuestEvents()
    listener = events.subscribe("p", "one", TYPES)
    events.send("p", "one", "device", {})
    events.end("p", "one")
    assert listener.queue.get_nowait() is None
    events.unsubscribe("p", "one", listener)
