"""What a record says of the processor that computed it."""

import subprocess
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import Mock

from alutils.learning import devices

X86 = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8480+
stepping\t: 8
"""
ARM = """processor\t: 0
BogoMIPS\t: 243.75
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
"""


def test_a_processor_is_its_vendor_family_and_model():
    assert devices.described(f"{X86}\n{X86}") == "GenuineIntel, 6, 143"


def test_arm_processors_are_told_apart():
    assert devices.described(f"{ARM}\n{ARM}") == "0x41, 0x3, 0xd0c"
    assert devices.described(ARM.replace("0xd0c", "0xd40")) == "0x41, 0x3, 0xd40"


def test_a_mac_s_processor_is_its_name(monkeypatch):
    """Elsewhere, and where it can't be asked for, it is what Python knows."""
    asked = Mock(return_value=CompletedProcess([], 0, stdout="Apple M3\n"))
    monkeypatch.setattr(Path, "read_text", Mock(side_effect=FileNotFoundError))
    monkeypatch.setattr(devices.sys, "platform", "darwin")
    monkeypatch.setattr(devices.platform, "processor", lambda: "arm")
    monkeypatch.setattr(subprocess, "run", asked)
    assert devices.processor.__wrapped__() == "Apple M3"
    asked.side_effect = FileNotFoundError
    assert devices.processor.__wrapped__() == "arm"
