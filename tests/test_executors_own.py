"""The owner's own executor: what it runs, how it ends, and that nothing it does harms its node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from parley.agents.executors.base import Attempt
from parley.agents.executors.own import Job, OwnExecutor
from parley.agents.executors.simulated import SimulatedExecutor
from parley.agents.executors.workshop import ExecutorError, Workshop, load_executor
from parley.agents.payload import pack, unpack
from parley.protocols.core import Conditions, Task
from parley.protocols.performatives import OUTPUT_UNREAD_MAX, Finished, Output, Reason


class Arm:
    """Does whatever a task says."""

    kinds: Sequence[str] = ("pick", "place:*")
    tags = ("arm", 7, "")

    def __init__(self, does: Callable[[Job], object] = lambda job: job.arguments) -> None:
        self.does = does
        self.cancelled = asyncio.Event()
        self.closed = False

    async def run(self, job: Job) -> object:
        try:
            done = self.does(job)
            return await done if asyncio.iscoroutine(done) else done
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def price(self, job: Job) -> dict[str, float] | None:
        assert job.arguments is None
        return {"way": float(job.about["metres"]) / 2.0, "grip": 1.0} if "metres" in job.about else None

    async def close(self) -> None:
        self.closed = True


class Bench:
    """An executor, and what it tells."""

    def __init__(self, executor: OwnExecutor | Workshop) -> None:
        self.executor = executor
        self.outputs: list[bytes] = []

    def begin(
        self, kind: str, arguments: object = None, timeout_s: float = 10.0, follow: bool = False
    ) -> asyncio.Future[Finished]:
        end: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()

        def tell(message: Finished | Output) -> None:
            if isinstance(message, Output):
                self.outputs.append(message.data)
            else:
                end.set_result(message)

        self.executor.start(Attempt(Task("t", kind, timeout_s=timeout_s), 3, pack(arguments), follow), tell)
        return end


async def test_a_task_is_run_and_answered() -> None:
    bench = Bench(OwnExecutor(Arm(lambda job: {"job": [job.id, job.kind, job.epoch], "got": job.arguments})))
    finished = await bench.begin("place:left", {"shelf": 7})
    assert unpack(finished.value) == {"job": ["t", "place:left", 3], "got": {"shelf": 7}}
    assert finished.reason is None


async def test_what_it_offers_has_and_asks() -> None:
    executor = OwnExecutor(Arm())
    assert [executor.offers(kind) for kind in ("pick", "place:left", "pick:left", "echo")] == [True, True, False, False]
    assert executor.tags == ("arm",)
    far = Task("t", "pick", terms=Conditions(about=(("metres", 8.0),)))
    assert executor.price(far) == [("way", 4.0), ("grip", 1.0)]
    assert executor.price(Task("t", "pick")) is None


@pytest.mark.parametrize(
    "price", [{}, {"way": -1.0}, {"way": float("nan")}, {"": 1.0}, {"queue": 1.0}, {"way": "far"}, 7, [1, 2]]
)
async def test_what_is_no_price_is_none(price: object) -> None:
    arm = Arm()
    arm.price = lambda job: price  # type: ignore[method-assign,assignment,return-value]
    assert OwnExecutor(arm).price(Task("t", "pick")) is None


async def test_what_it_raises_fails_the_task_with_a_sentence_and_a_traceback() -> None:
    def does(job: Job) -> object:
        raise ValueError("the shelf\nis empty")

    finished = await Bench(OwnExecutor(Arm(does))).begin("pick")
    assert finished.reason is Reason.ERROR
    sentence, _, details = finished.error.partition("\n")
    assert sentence == "ValueError: the shelf is empty"
    assert details.startswith("Traceback")
    assert "in does" in details


async def test_its_own_timeouts_are_not_ours() -> None:
    async def does() -> None:
        async with asyncio.timeout(0):
            await asyncio.sleep(1)

    finished = await Bench(OwnExecutor(Arm(lambda job: does()))).begin("pick")
    assert finished.reason is Reason.ERROR
    assert finished.error.startswith("TimeoutError")


async def test_what_takes_too_long_is_cancelled() -> None:
    arm = Arm(lambda job: asyncio.sleep(60))
    finished = await Bench(OwnExecutor(arm)).begin("pick", timeout_s=0.01)
    assert (finished.reason, finished.error) == (Reason.TIMEOUT, "no result within 0.01 s")
    assert arm.cancelled.is_set()


async def test_stop_cancels_and_nothing_more_is_told() -> None:
    arm = Arm(lambda job: asyncio.sleep(60))
    bench = Bench(OwnExecutor(arm))
    end = bench.begin("pick")
    await asyncio.sleep(0)
    bench.executor.stop("t", 3)
    await asyncio.wait_for(arm.cancelled.wait(), 5)
    assert not end.done()
    await bench.executor.close()
    assert arm.closed


async def test_what_cannot_travel_fails_the_task() -> None:
    finished = await Bench(OwnExecutor(Arm(lambda job: {1, 2}))).begin("pick")
    assert finished.reason is Reason.ERROR
    assert finished.error.startswith("a set cannot travel")


async def test_lines_are_told_as_far_as_they_are_read() -> None:
    def does(job: Job) -> None:
        for _ in range(3):
            job.print("x" * 60_000)
        job.print("y" * OUTPUT_UNREAD_MAX)

    bench = Bench(OwnExecutor(Arm(does)))
    await bench.begin("pick", follow=True)
    assert [len(data) for data in bench.outputs] == [60_001] * 3
    silent = Bench(OwnExecutor(Arm(does)))
    await silent.begin("pick")
    assert silent.outputs == []


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        ("", "Arm", "has no class Arm that could be an executor"),
        ("class Arm: kinds = ('x',)", "Arm", r"cannot be made: TypeError: Arm must have a method `async def run"),
        ("class Arm:\n    async def run(self, job): ...", "Arm", "cannot be made: TypeError: Arm must name its kinds"),
        ("class Arm:\n    kinds = 'x'\n    async def run(self, job): ...", "Arm", "must name its kinds"),
        ("class Arm:\n    def __init__(self): 1 / 0", "Arm", "cannot be made: ZeroDivisionError: division by zero"),
        ("raise OSError('no arm')", "Arm", "cannot be made: OSError: no arm"),
        ("", "", "names no executor: write pkg.mod:Class"),
    ],
)
def test_what_is_no_executor_is_one_sentence(tmp_path: Path, text: str, name: str, sentence: str) -> None:
    module = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{module}.py").write_text(text)
    with pytest.raises(ExecutorError, match=sentence) as refused:
        load_executor(f"{module}:{name}", [tmp_path])
    assert "\n" not in str(refused.value)


# --- all of them as one


async def test_the_first_that_offers_a_kind_runs_it() -> None:
    arm = Arm(lambda job: "the arm's")
    arm.kinds = ("echo",)
    workshop = Workshop([OwnExecutor(arm), SimulatedExecutor()])
    bench = Bench(workshop)
    assert unpack((await bench.begin("echo", "mine")).value) == "the arm's"
    assert unpack((await bench.begin("sleep", {"seconds": 0})).value) is None
    assert workshop.tags == ["arm"]
    assert workshop.offers("work")
    assert not workshop.offers("chat:llama")
    await workshop.close()


async def test_an_attempt_stays_with_the_executor_that_began_it() -> None:
    arm = Arm(lambda job: asyncio.sleep(60))
    workshop = Workshop([OwnExecutor(arm)])
    end = Bench(workshop).begin("pick")
    await asyncio.sleep(0)
    arm.kinds = ()
    workshop.stop("t", 3)
    await asyncio.wait_for(arm.cancelled.wait(), 5)
    assert not end.done()


async def test_what_is_offered_no_longer_dies_and_may_run_elsewhere() -> None:
    finished = await Bench(Workshop([SimulatedExecutor()])).begin("chat:llama")
    assert finished.reason is Reason.DIED
    assert "any more" in finished.error
