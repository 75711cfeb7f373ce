"""A first row is refused if it is a title, or has a value like those below it."""

from pathlib import Path

import pytest

from askrows.pipeline.core.declaration import ReadOptions
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.rows.source import FileSource

# Lines are separated by `|` here.
ORDINARY = """
id,text|1,foo|2,bar
country,2019,2020|A,1,2|B,3,4
country,2019|A,5|B,6
Year,2019|2020,5|2021,6
2019,2020,2021|1,2,3|4,5,6
,0,1|0,a,b|1,c,d
0,1|foo,bar|baz,qux
1,2,3|2,4,6|3,6,9
id,1,2,3|a,5,6,7|b,8,9,1
1,text|foo,bar|baz,qux
10,25,50,90|1,2,3,4|2,3,4,5
wavelength,400.5,401.0|a,0.1,0.2|b,0.3,0.4
project,2026-01,2026-02|x,1,2|y,3,4
project,2026-01-01,2026-02-01|x,1,2|y,3,4
Date,Open,Close|2026-01-01,1.5,2|2026-01-02,3,4
text|one|two|three
key|1|2|3
#,text|1,foo|2,bar
#id,text|1,foo|2,bar
# of employees,company|12,Acme|4,Foo
# tag,name,age|red,unknown,n/a|blue,Ann,5
name,city|Ann,Rome|Bob,Oslo
,text|ann,foo|bob,bar
id,text,|1,foo,|2,bar,
id;text;city|1;Late, cold;Rome|2;x, y;Oslo
Timestamp,How satisfied are you?,Why?|2026-01-01 10:00,5,It was fast|2026-01-02 11:00,4,No
Q1,Q2,Q3|yes,no,yes|no,no,yes
email,name|a@b.org,Ann|c@d.org,Bob
"Review text","Stars (1-5)"|"x, y",3|"z",4
id\ttext|1\tfoo, bar|2\tbaz, qux
id,text,n|1,foo|2,bar
year,text|2019,a|2020,b
id,text|1,foo
number,text,|P-1,The showers are cold,call back|P-2,The clock is slow,|P-3,Parked on lawn,see photo
,name,city|a,Ann,Rome|b,Bob,Oslo
name,score,|Ann,5,x|Bob,7,y|Cid,9,z
""".strip().split("\n")
REFUSED = {
    "Report of 2026-05-01||id,text,city|1,The boat was late,Rome|2,On time,Oslo": 3,
    "# exported 2026|id,text|1,foo|2,bar": 2,
    "text|Hello, world|Foo, bar": 2,
    "tags|red; green; blue|x; y; z|a; b; c": 2,
    "#export|#by Ann|id,text|1,foo|2,bar": 3,
    "Bericht Mai 2026|id;text;city|1;a;b|2;c;d": 2,
    "Report,,|,,|id,text,city|1,a,b": 3,
    "Report,,|id,text,city|a,b,c|d,e,f": 2,
    "Sales|country,2019,2020|A,1,2|B,3,4": 2,
    "Title|Subtitle||name,text|Ann,foo|Bob,bar": 4,
    "Letters of the year,,2026|by phone,,|number,pier,letter|1,North,late|2,South,fine": 3,
    "Letters,by Ann,|number,pier,letter|1,North,late|2,South,fine": 2,
    "Office,,|Letters,,|Printed on,2 May,|By,no,|no,pier,letter|1,N,a|2,S,b|3,N,c|4,S,d": 5,
    "1,The boat was late|2,On time|3,Never came": 0,
    "1;The boat was late, cold;a|2;On time;b|3;Never, came, again;c": 0,
    "ann@x.org,Great boat|bob@y.org,Bad|c@d.org,x": 0,
    "17,The boat was late again|23,It was on time here|40,Never came to the harbour": 0,
}


def write_table(folder: Path, table: str) -> Path:
    """Write a table."""
    path = folder / "table.csv"
    path.write_text(table.replace("|", "\n") + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("table", ORDINARY)
def test_ordinary_table_is_accepted(tmp_path: Path, table: str) -> None:
    """Columns may be years, numbers or blanks, and a text may contain any delimiter."""
    assert FileSource(write_table(tmp_path, table)).names


@pytest.mark.parametrize("table", REFUSED)
def test_table_without_a_header_is_refused_until_it_is_named(tmp_path: Path, table: str) -> None:
    """The message contains the first eight lines, and its suggestion is accepted."""
    path = write_table(tmp_path, table)
    line = REFUSED[table]
    with pytest.raises(InputError) as refused:
        FileSource(path)
    assert "The file begins: line 1 '" in refused.value.message
    assert f"HEADER={line or 'none'} " in str(refused.value.hint)
    assert f"HEADER={line or 1} " in str(refused.value.hint)
    file_source = FileSource(path, ReadOptions(header=line or "none"))
    count = table.count("|") + 1
    shown_lines = refused.value.message.count(", line ") + 1
    assert shown_lines == min(8, len(list(filter(None, table.split("|")))))
    assert len(list(file_source)) == count - line
    assert line or file_source.names == [
        f"column_{number}" for number in range(1, len(file_source.names) + 1)
    ]
    assert FileSource(path, ReadOptions(header="1")).names


def test_header_with_a_stray_line_break_is_refused(tmp_path: Path) -> None:
    """A line of `HEADER=` with a carriage return in it has no readable names."""
    table = tmp_path / "table.csv"
    table.write_bytes(b"id,text\n1,ab\rcd\n2,good\n")
    with pytest.raises(InputError, match="columns on line 2 cannot be read"):
        FileSource(table, ReadOptions(header="2"))
