import re
import unicodedata

import pytest

from shared.chassis.messages.plain_text import LINE, LINE_WITHOUT_LINK, TEXT, WEB_ADDRESS


def test_line_refuses_control_characters():
    for number in range(0x110000):
        if unicodedata.category(chr(number)) == "Cc":
            assert not re.match(LINE, f"a{chr(number)}b")


@pytest.mark.parametrize("text", ["\u202e", "\u2066", "\u200b", "\ufeff", "\u00ad", "\u2028", "\n"])
def test_line_refuses_hidden_characters(text: str):
    for pattern in (LINE, LINE_WITHOUT_LINK):
        assert not re.match(pattern, f"a{text}b")
        assert not re.match(pattern, f"ab{text}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Aiko 山田",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "क\u200dष",
        "O'Neill & Søn <3",
        "👩\u200d🚀",
    ],
)
def test_line_accepts_names_of_any_script(text: str):
    assert re.match(LINE, text)
    assert re.match(LINE_WITHOUT_LINK, text)


def test_text_may_have_line_breaks():
    assert re.match(TEXT, "one\r\n\ttwo\n")
    assert not re.match(TEXT, "one\x1b[2K")


def test_line_without_link_refuses_urls():
    assert not re.match(LINE_WITHOUT_LINK, "visit http://evil.example/login")
    assert re.match(LINE, "see http://shop.example/")


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "data:text/html,x", "//a", "http://", "https://a b", " https://a"],
)
def test_web_address_refuses_other_schemes(url: str):
    assert not re.match(WEB_ADDRESS, url)


@pytest.mark.parametrize(
    "url", ["https://shop.example/a.png?x=1#y", "http://127.0.0.1:8000/画像.png"]
)
def test_web_address_accepts_http(url: str):
    assert re.match(WEB_ADDRESS, url)
