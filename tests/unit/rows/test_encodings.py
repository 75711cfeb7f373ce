"""A code page is guessed by the letters of a text; the default is cp1252."""

# ruff: noqa: RUF001 - the texts are in many alphabets

from pathlib import Path

import pytest

from askrows.pipeline.core.declaration import ReadOptions
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.rows.encodings import detect_codec_and_note, resolve_codec_name
from askrows.pipeline.rows.source import TableFile

TEXTS = {
    "cp1252": (
        "Café fermé à 18 h, très déçu",
        (
            "Nous avons attendu le bateau deux heures. Le garçon était désagréable, "
            "et où était l’hôtesse ?"
        ),
        "Müller\nJürgen Groß",
        "Die Fähre war zu spät, 25 m³ groß und 5½ Stunden unterwegs – für 20 €.",
        "Åsa Öberg\nPer Sjöström",
        "Båten var försenad igen, väldigt dåligt.",
        "Søren Kjær\nBjørn Nygård",
        "Det var en dårlig færge. Vi måtte vente længe på øen.",
        "João Gonçalves\nInês Antão",
        "Informação útil\nDescrição: ótimo serviço, mas não pontual",
        "¿Qué pasó mañana?\n¡El niño comió!",
        "Muñoz\nIbáñez\nNúñez",
        "Þórður Guðmundsson veit það ekki",
        "La città è più bella, perché così?",
        "25 m³ of water on 3 km² for £50",
        "It’s “great”, I’m sure – really…",
        "Naïve café",
    ),
    "cp1250": (
        "Łukasz Wałęsa\nPaweł Kowalski",
        "Statek się spóźnił, obsługa była nieuprzejma.\nJedzenie było zimne, a łódź brudna.",
        "Loď měla zpoždění. Jídlo bylo studené a zaměstnanci nepříjemní.",
        "A hajó késett, az étel hideg volt és a személyzet udvariatlan, őszintén szörnyű.",
        "Malá třída\nStará škola\nNová tabule\nBílá křída\nZelená lavice\nDlouhá přestávka",
        (
            "Pociąg się spóźnił\nDveře nejdou zavřít, děkujeme\nŐszintén csalódott vagyok\n"
            "Książka jest mała\nŘidič byl příjemný\nA fűtés rosszul működik"
        ),
    ),
    "euc_jp": ("列車が一時間遅れました\n料理は冷たかったが、店員は親切でした",),
    "cp1251": (
        "Кафе закрыто, очень жаль",
        "Лодка опоздала, еда была холодной.\nПерсонал был грубым с моей матерью.",
        "ИВАНОВ ИВАН\nПЕТРОВА АННА\nНЕ РАБОТАЕТ",
        "Човен запізнився, їжа була холодна",
        "Новосибирск опять но\nхолодный не\nночь и на",
        "большое",
    ),
    "koi8_r": ("Паром опять ушёл без нас", "НЕ РАБОТАЕТ"),
    "cp866": ("Паром опять ушёл без нас", "НЕ РАБОТАЕТ"),
    "iso8859_5": ("Паром опять ушёл без нас",),
    "mac_cyrillic": ("Паром опять ушёл без нас",),
    "cp1256": ("تأخرت السفينة مرة أخرى وكان الطعام باردا",),
    "cp1253": ("Το πλοίο άργησε πάλι\nΤο φαγητό ήταν κρύο.", "Γιώργος Παπαδόπουλος"),
    "cp1254": (
        "Vapur yine geç kaldı, yemekler soğuktu.\nPersonel çok kabaydı, şikâyet ettim.",
        "Ayşe Yıldız\nMehmet Öztürk\nİbrahim Çağlar",
    ),
    "cp1257": ("Laivas vėl vėlavo, maistas buvo šaltas, labai nusivylėme, ačiū",),
}
CASES: list[tuple[str, str]] = []
for codec_name, texts in TEXTS.items():
    CASES += [(codec_name, text) for text in texts]


@pytest.mark.parametrize(("codec", "text"), CASES)
def test_short_file_is_decoded_correctly(tmp_path: Path, codec: str, text: str) -> None:
    """Two to five lines with a header are enough, and the note contains a word."""
    lines = [
        "id;text",
        *(f"{number};{line}" for number, line in enumerate(text.split("\n"), start=1)),
        "",
    ]
    path = tmp_path / "short.csv"
    path.write_bytes("\r\n".join(lines).encode(codec))
    guessed, note = detect_codec_and_note(path, path.read_bytes())
    assert path.read_bytes().decode(guessed) == "\r\n".join(lines)
    assert next(letter for letter in text if not letter.isascii()) in note
    assert "ENCODING=" in note


def test_second_code_page_is_told(tmp_path: Path) -> None:
    """If it fits about equally well, both readings of a word are shown, and the file is refused."""
    path = tmp_path / "short.csv"
    path.write_bytes("id;text\n1;Teşekkür ederiz, her şey güzeldi\n".encode("cp1254"))
    codec, note = detect_codec_and_note(path, path.read_bytes())
    assert codec == "cp1252"
    assert "try ENCODING=cp1254" in note

    path.write_bytes("id;text\n1;خدمة ممتازة\n".encode("cp1256"))
    with pytest.raises(
        InputError, match=r"a word is '.*' in gb18030 and 'خدمة' in cp1256"
    ) as caught:
        detect_codec_and_note(path, path.read_bytes())
    assert "ENCODING=cp1256" in str(caught.value.hint)


@pytest.mark.parametrize(("codec", "text"), [("cp1251", "рано утром"), ("cp1252", "Café zu")])
def test_common_one_of_equal_code_pages_is_chosen(tmp_path: Path, codec: str, text: str) -> None:
    """Other pages read the same words alike, but not the letters of later rows."""
    path = tmp_path / "short.csv"
    path.write_bytes(f"id;text\n1;{text}\n".encode(codec))
    assert detect_codec_and_note(path, path.read_bytes())[0] == codec


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_is_not_guessed(tmp_path: Path, codec: str) -> None:
    """Unicode is detected without a byte order mark and across chunk boundaries."""
    text = f"id,text\n1,{'x' * ((1 << 20) - 3)}é{'é' * (1 << 20)}\n"
    path = tmp_path / "wide.csv"
    path.write_bytes(text.encode(codec))
    detected, note = detect_codec_and_note(path, path.read_bytes()[: 1 << 20])
    assert path.read_bytes().decode(detected) == text
    assert "guess" not in note


def test_wrong_encoding_is_refused_with_the_line(tmp_path: Path) -> None:
    """Every line is checked, and codecs of bytes are refused."""
    path = tmp_path / "late.csv"
    path.write_bytes(b"id,text\n" + b"1,plain\n" * 200_000 + "2,caf\u00e9\n".encode("cp1252"))
    rows = TableFile(path, "a hint", options=ReadOptions(encoding="utf-8")).read_rows()
    with pytest.raises(InputError, match="line 200002: a byte is not valid utf-8"):
        list(rows)
    assert resolve_codec_name("latin1") == "iso8859-1"
    for name in ("klingon", "hex", "rot13", "\0"):
        with pytest.raises(InputError, match="is not an encoding"):
            resolve_codec_name(name)
