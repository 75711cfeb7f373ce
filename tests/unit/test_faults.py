"""The faults of `make mutants` match the code and the tests."""

from tests.acceptance.faults import ROOT, TEST_FOLDER, read_faults


def test_every_fault_can_be_planted() -> None:
    """The text of each fault occurs once, its replacement compiles, and its test exists."""
    for fault in read_faults():
        compile(fault.plant(ROOT), fault.file, "exec")
        file, _, test = fault.test.partition("::")
        source = (TEST_FOLDER / file).read_text(encoding="utf-8")
        assert f"def {test.partition('[')[0]}(" in source, fault.name
