"""rich's console, except that a reader who has left is no error."""

from rich.console import Console


class PipeConsole(Console):
    """rich ends the process with code 1 when `| head` has read enough; here the command's own
    guard learns of it, as of a plain print's."""

    def on_broken_pipe(self) -> None:
        """Called while the BrokenPipeError is handled: let it go on."""
        self.quiet = True
        raise
