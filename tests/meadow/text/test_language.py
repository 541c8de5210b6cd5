"""The model of languages is unpacked once, and says what the library's own says."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from meadow.text import language

TEXTS = [
    "Der Patient hat seit drei Tagen Fieber und Husten.",
    "El paciente tiene fiebre desde hace tres días.",
    "Aspirin 81 mg daily, lisinopril 10 mg, metformin 500 mg twice a day",
    "患者は三日前から熱がある。",
    "",
]


@pytest.fixture
def library() -> Any:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def test_what_is_unpacked_ranks_as_the_library_does(
    library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language, "CACHE", tmp_path / "home")
    first = language._identifier.__wrapped__()
    [kept] = (tmp_path / "home").glob("*.npy")
    monkeypatch.setattr(LanguageIdentifier, "from_model_file", None)  # it is not asked again
    second = language._identifier.__wrapped__()
    for text in TEXTS:
        assert first.rank(text) == second.rank(text) == library.rank(text)
    kept.write_bytes(kept.read_bytes()[:1_000_000])
    with pytest.raises(TypeError, match="NoneType"):  # what is torn is not taken
        language._identifier.__wrapped__()


def test_a_home_that_cannot_be_written_costs_time_alone(
    library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(language, "CACHE", tmp_path / "file" / "home")
    assert language._identifier.__wrapped__().rank(TEXTS[0]) == library.rank(TEXTS[0])
    monkeypatch.setattr(language, "CACHE", Path("~nobody-of-this-name/home"))
    assert language._identifier.__wrapped__().rank(TEXTS[1]) == library.rank(TEXTS[1])


WORDS = st.sampled_from(
    ["the", "Of", "and", "it's", "x", "naïve", "—", "é", "word", "a-b", "3", "ß"]
)


@settings(max_examples=300)
@given(st.lists(WORDS, max_size=90).map(" ".join))
def test_what_is_told_from_bytes_is_english_by_its_words(text: str) -> None:
    words = language._WORD.findall(text)
    english = len(words) >= language._ENOUGH_WORDS and language._looks_english(words)
    assert english or not language._is_plain_english(text)
    if text.isascii():
        assert english == language._is_plain_english(text)
