"""One start at a time on each device."""

import asyncio

from gateway.launch.supervision.gates import StartGates


async def enter(gates: StartGates, devices: tuple[int, ...], log: list[str], name: str) -> None:
    async with gates.of(devices):
        log.append(f"{name} in")
        await asyncio.sleep(0)
        log.append(f"{name} out")


async def test_neighbours_on_a_device_start_one_after_the_other_in_the_order_they_came() -> None:
    gates, log = StartGates(), list[str]()
    await asyncio.gather(*(enter(gates, (0,), log, name) for name in "abc"))
    assert log == ["a in", "a out", "b in", "b out", "c in", "c out"]


async def test_on_different_devices_nobody_waits() -> None:
    gates, log = StartGates(), list[str]()
    await asyncio.gather(enter(gates, (0,), log, "a"), enter(gates, (1,), log, "b"))
    assert log[:2] == ["a in", "b in"]


async def test_servers_on_several_devices_do_not_block_each_other_for_ever() -> None:
    gates, log = StartGates(), list[str]()
    async with asyncio.timeout(5):
        await asyncio.gather(*(enter(gates, (n % 2, 1 - n % 2), log, str(n)) for n in range(6)))
    assert len(log) == 12
    assert all(log[n].split()[0] == log[n + 1].split()[0] for n in range(0, 12, 2))
