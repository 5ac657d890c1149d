from pathlib import Path

import pytest

LOGS = Path(__file__).parent / "logs"
CORPUS = Path(__file__).parents[3] / "shared" / "corpus"


def corpus_files(pattern):
    """Paths for parametrize; one that skips where the corpus is absent."""
    found = sorted(CORPUS.glob(pattern)) if CORPUS.is_dir() else []
    if not found:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no corpus at {CORPUS}"))]
    return [pytest.param(path, id=path.stem) for path in found]


@pytest.fixture
def corpus():
    if not CORPUS.is_dir():
        pytest.skip(f"no corpus at {CORPUS}")
    return CORPUS
