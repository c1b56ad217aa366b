from trajnb.qlora.progress import EVERY, Answering, Pace, duration


class Clock:
    """Time goes on only where a test says so."""

    now = 100.0

    def __call__(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


def test_durations_are_read_at_a_glance():
    seconds = (0, 0.4, 50, 59.6, 250, 3600, 7500)
    wanted = ["0 s", "0 s", "50 s", "1 min 0 s", "4 min 10 s", "1 h 0 min", "2 h 5 min"]
    assert [duration(one) for one in seconds] == wanted


def test_lines_come_no_faster_than_every_few_seconds():
    clock, said = Clock(), []
    pace = Pace(said.append, clock)
    for count in range(195):
        pace(f"line {count}")
        clock.pass_by(EVERY / 10)
    assert said == [f"line {count}" for count in range(10, 195, 10)]
    pace("held back")
    pace("the last one", always=True)
    pace("held back again")
    assert said[-2:] == ["line 190", "the last one"]


def test_what_is_left_is_told_for_all_waves():
    clock, said = Clock(), []
    progress = Answering(said.append, tokens=4000, answers=100, clock=clock)
    clock.pass_by(10)
    progress.read(1000)
    clock.pass_by(10)
    progress.read(1000)
    progress.finished(10)
    clock.pass_by(6)
    progress.finished(20)
    progress.wrote(going=20, steps_left=9)
    clock.pass_by(2)
    progress.wrote(going=20, steps_left=8)
    clock.pass_by(4)
    progress.finished(20)
    progress.wrote(going=0, steps_left=0)
    clock.pass_by(20)
    progress.read(2000)
    assert said == [
        "read 1,000 of 4,000 tokens of prompts · 30 s of reading left",
        "read 2,000 of 4,000 tokens of prompts · 20 s of reading left",
        # 20 s of reading, 9 steps of 6 s, and as long again as 6 + 54 s for the other half
        "written 30 of 100 answers · up to 2 min 14 s left",
        # two seconds later: nothing; then the first half has taken 12 s
        "written 50 of 100 answers · up to 32 s left",
        "read 4,000 of 4,000 tokens of prompts · 12 s left",
    ]


def test_a_part_of_a_pass_counts_as_that_part_of_its_tokens():
    clock, said = Clock(), []
    progress = Answering(said.append, tokens=3000, answers=2, clock=clock)
    watch = progress.watch(2000)
    clock.pass_by(60)
    watch(0.0)  # nothing was read, so that nothing can be said
    clock.pass_by(10)
    watch(0.5)
    clock.pass_by(10)
    watch(1.0)
    progress.watch(1000)(1.0)
    assert said == [
        "read 1,000 of 3,000 tokens of prompts · 2 min 20 s of reading left",
        "read 2,000 of 3,000 tokens of prompts · 40 s of reading left",
    ]
