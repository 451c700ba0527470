import io
import re

import corpus
from rich.console import Console

from effnet_jax.doctor import examine, list_folder
from effnet_jax.doctor.console import LISTED_NOTES, print_report
from effnet_jax.doctor.findings_page import SHOWN, write_page


def examined(root, files):
    return examine(list_folder(corpus.write(root, {**corpus.base(), **files})))


def printed(report, **options):
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=60), **options)
    return stream.getvalue()


def test_the_page_needs_no_other_file(tmp_path):
    files = {"trainA/<b>&_1.png": corpus.stored(corpus.sketch(51)), "trainB/bad.jpg": b"no picture"}
    files["testB/77.jpg"] = corpus.base()["trainB/2.jpg"]
    write_page(tmp_path / "new" / "page.html", examined(tmp_path / "in", files))
    page = (tmp_path / "new" / "page.html").read_text()
    assert "trainA/&lt;b&gt;&amp;_1.png" in page and "<b>" not in page
    assert "cannot be shown" in page
    assert set(re.findall(r'(?:src|href)="([^,"]*)', page)) == {"data:image/jpeg;base64"}
    assert page.count("<figure>") == 1 + 1 + 2 + 2  # orphan, no picture, two undrawn photos, the shared pair
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_the_page_of_good_data_says_so(tmp_path):
    write_page(tmp_path / "page.html", examined(tmp_path / "in", {}))
    assert "Nothing was found." in (tmp_path / "page.html").read_text()


def test_what_is_not_shown_is_named(tmp_path):
    files = {f"testB/x{k}.jpg": corpus.jpeg(corpus.photo(k + 100, 64), quality=60) for k in range(SHOWN + 3)}
    write_page(tmp_path / "page.html", examined(tmp_path / "in", files))
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img") == SHOWN
    assert all(f"testB/x{k}.jpg" in page for k in range(SHOWN + 3))


def test_the_terminal_lists_every_fault_and_the_first_notes(tmp_path):
    files = {f"trainA/lost{k}_1.png": corpus.stored(corpus.sketch(k + 50)) for k in range(20)}
    files |= {f"testB/x{k}.jpg": corpus.jpeg(corpus.photo(k + 100)) for k in range(20)}
    report = examined(tmp_path, files).report
    text = printed(report)
    assert all(f"trainA/lost{k}_1.png" in text for k in range(20))
    assert text.count("testB/x") == LISTED_NOTES
    assert f"... and {20 - LISTED_NOTES} more; --all lists them" in text
    assert text.rstrip().endswith("20 faults, 20 notes")
    assert printed(report, every_note=True).count("testB/x") == 20


def test_names_with_brackets_are_no_markup(tmp_path):
    report = examined(tmp_path, {"trainA/[red]x_1.png": corpus.stored(corpus.sketch(50))}).report
    assert "trainA/[red]x_1.png" in printed(report)


def test_one_fault_is_singular(tmp_path):
    report = examined(tmp_path, {"trainA/x_1.png": corpus.stored(corpus.sketch(50))}).report
    assert printed(report).rstrip().endswith("1 fault, 0 notes")
