"""Readable in a pipe, contained in a terminal, silent for --json."""

import io

from rich.console import Console

from groundup.demo.screen import Screen


def shown(act: object, **options: object) -> str:
    stream = io.StringIO()
    screen = Screen(console=Console(file=stream, width=80, highlight=False, **options))  # type: ignore[arg-type]
    act(screen)  # type: ignore[operator]
    return stream.getvalue()


def test_lines_are_wrapped_under_themselves_and_read_no_markup() -> None:
    text = shown(lambda screen: screen.line("[bold]word[/] " * 30))
    assert "[bold]word[/]" in text
    assert all(line.startswith("  ") and len(line) <= 80 for line in text.splitlines())


def test_quoted_text_cannot_move_the_cursor_or_leave_its_bar() -> None:
    text = shown(lambda screen: screen.quote("a\x1b[2Jb\n" + "x" * 200 + "\n\n[red]c"))
    assert "\x1b" not in text
    assert "a�[2Jb" in text
    assert "[red]c" in text
    assert all(line.startswith("  │") and len(line) <= 80 for line in text.splitlines())


def test_a_pipe_gets_no_control_characters() -> None:
    def act(screen: Screen) -> None:
        screen.title("groundup", "machine")
        screen.station("1  Text")
        screen.table(["a", "b"], [("[x]", "1"), ("y", "2")], right=[1], bold=[0])
        with screen.waiting("working"):
            pass

    text = shown(act)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "[x]" in text
    assert "working" not in text


def test_quiet_shows_nothing(capsys: object) -> None:
    screen = Screen(quiet=True)
    screen.title("a", "b")
    screen.line("c")
    assert capsys.readouterr().out == ""  # type: ignore[attr-defined]
