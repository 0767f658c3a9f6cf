# SPDX-License-Identifier: Apache-2.0
"""What the figures were measured on: the machine, the versions, the settings."""

import importlib.metadata
import os
import pathlib
import platform
import re
import sys

_PACKAGES = ("mindspore", "numpy", "ml_dtypes", "torch")
_CACHES = pathlib.Path("/sys/devices/system/cpu/cpu0/cache")
_HUGE_PAGES = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def machine_line():
    """CPU model, cores, caches, memory pages and operating system in one line."""
    pages = f"{os.sysconf('SC_PAGE_SIZE') // 1024} KB pages, transparent huge pages {_huge_pages()}"
    cores = f"{len(os.sched_getaffinity(0))} cores in use of {os.cpu_count()}"
    return f"{cpu_model()}, {cores}, {_caches()}, {pages}, {platform.system()} {platform.release()}"


def cpu_model():
    """The CPU's name, or the architecture where it does not tell."""
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    fields = dict(re.findall(r"^(\w[\w ]*?)\s*:[ \t]*(.+)$", text, flags=re.MULTILINE))
    name = fields.get("model name", platform.machine())
    if "cpu family" in fields:
        name += f" family {fields['cpu family']} model {fields.get('model', '?')}"
    return name


def _caches():
    found = []
    for index in sorted(_CACHES.glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found.append(f"L{level} {size}")
    return " ".join(found) or "caches unknown"


def _huge_pages():
    setting = re.search(r"\[(\w+)\]", _HUGE_PAGES.read_text()) if _HUGE_PAGES.is_file() else None
    return setting.group(1) if setting else "unknown"


def versions():
    """Versions of what takes part, by name; a package that is missing is left out."""
    import ms_nsa

    found = {"ms_nsa": ms_nsa.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def busy_warning():
    """A sentence when other work is likely to disturb the figures, else an empty string."""
    load, cores = os.getloadavg()[0], os.cpu_count()
    if load < 0.5 * cores:
        return ""
    return f"load average is {load:.1f} on {cores} cores: other work disturbs these figures"


def file_slug(isa, threads):
    """Name of this machine for files: letters, digits and dashes."""
    name = re.sub(r"[^a-z0-9]+", "-", cpu_model().lower()).strip("-")
    return f"{name}-{isa}-{threads}-threads"


def progress_stream():
    """Where the progress bar goes: not into a file that standard output may be."""
    return sys.stderr
