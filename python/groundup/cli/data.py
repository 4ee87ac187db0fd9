"""List and fetch the data sets of the lessons."""

import json as json_format
from functools import partial
from typing import Annotated, Any

import tyro

from groundup.cli._command import run


def main(args: list[str]) -> int:
    """`groundup data`."""
    return run(
        args,
        {"list": list_sets, "get": get},
        name="data",
        description="List and fetch the data sets of the lessons.",
        example="groundup data get names tinyshakespeare",
    )


def list_sets(*, json: bool = False) -> int:
    """List the data sets: what each holds, its size, and where it is on this machine.

    Args:
        json: print the list as one line of JSON on stdout
    """
    from groundup.data.catalogue import data_sets, find, is_published

    records: list[dict[str, Any]] = []
    for each in data_sets().values():
        found = [find(file.path) for file in each.files]
        others = [
            str(path)
            for file, path in zip(each.files, found, strict=True)
            if path is not None and not is_published(file, path)
        ]
        there = found[0].parent if found[0] is not None and None not in found else None
        records.append(
            {
                "name": each.name,
                "about": each.about,
                "licence": each.licence,
                "bytes": each.size,
                "by_hand": each.by_hand,
                "folder": None if there is None else str(there),
                "not_published": others,
            }
        )
    if json:
        print(json_format.dumps(records))
        return 0
    width = max(len(each.name) for each in data_sets().values())
    for each, record in zip(data_sets().values(), records, strict=True):
        size = f"{each.size / 1e6:.1f} MB"
        print(f"{each.name:<{width}}  {size:>8}  {each.about} ({each.licence})")
        if each.by_hand:
            print(f"{'':<{width}}  {'':>8}  not fetched: {each.by_hand}")
        if record["folder"] is not None:
            print(f"{'':<{width}}  {'':>8}  in {record['folder']}")
        for path in record["not_published"]:
            print(f"{'':<{width}}  {'':>8}  not the published file: {path}")
    return 0


def get(names: Annotated[tuple[str, ...], tyro.conf.Positional], /, *, json: bool = False) -> int:
    """Fetch data sets into the user's cache, checked by SHA-256; a cut-off one goes on.

    Some texts are made here from what is fetched; those that have to be put in place by hand are
    checked, or it is said where they come from and where they go.

    Args:
        names: which sets; `groundup data list` names them
        json: print the files as one line of JSON on stdout
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from groundup.cli._console import PipeConsole
    from groundup.data.catalogue import data_set, fetch, provided

    if not names:
        raise ValueError("data get: expected the name of a set; `groundup data list` names them")
    chosen = [data_set(name) for name in names]
    console = PipeConsole(stderr=True)
    paths = []
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        for each in chosen:
            task = bar.add_task(each.name, total=each.n_fetched)
            for file in each.files:
                if each.by_hand:
                    path = provided(file, each.by_hand)
                else:
                    path = fetch(file, partial(bar.advance, task))
                paths.append(str(path))
                if not json:
                    print(path, flush=True)
    if json:
        print(json_format.dumps(paths))
    return 0
