"""Where the tests find the sample and the corpus of real files."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORPUS = ROOT.parent / "shared" / "corpus"
SAMPLE = ROOT / "samples" / "mnist"


requires_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"the corpus is not at {CORPUS}")


def corpus_files(folder: str, pattern: str = "*", *, exclude: str = "") -> list[object]:
    """Real files of the corpus as test parameters; one that skips with a reason if there is no corpus."""
    found = sorted(path for path in (CORPUS / folder).glob(pattern) if not exclude or not path.match(exclude))
    if not found:
        return [pytest.param(Path(pattern), marks=requires_corpus, id="no corpus")]
    return [pytest.param(path, id=path.name) for path in found]
