"""Options of `mpg train`: data, library, sampled replies, and fields of the persona file. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mpg_cli.errors import UsageError
from mpg_cli.options import readers
from mpg_cli.options.option import option


@dataclass(frozen=True)
class DataOptions:
    """The training data, and how to treat invalid rows and existing adapters."""

    data: tuple[Path, ...] = option(
        (),
        metavar="FILE",
        help="JSONL or a JSON list of preference pairs, such as {prompt, chosen, rejected}.",
    )
    strict: bool = option(False, help="Stop if a row of the data is invalid.")
    force: bool = option(
        False, help="Replace the persona's adapter for this model; restart an unfinished run."
    )


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if text.strip() and not names:
        raise UsageError("--personas names none", hint="as in --personas E,I,pirate; leave it out for all")
    return names


@dataclass(frozen=True)
class LibraryOptions:
    """Training of the personas that come with `mpg`, on their data."""

    library: bool = option(
        False, help="Instead of NAME and --data: train the library's personas on the data that comes with it."
    )
    personas: tuple[str, ...] = option(
        (),
        metavar="NAME,…",
        many=False,
        read=_names,
        text="",
        help="With --library: train these, as E,I,pirate.",
        shown="all",
    )

    def check(self, name: str | None, data: DataOptions, about: AboutOptions) -> None:
        """Raise UsageError for what does not go together."""
        if not self.library:
            if self.personas:
                raise UsageError("--personas belongs to --library", hint="add --library, or give a NAME")
            if name is None:
                raise UsageError(
                    "missing argument 'NAME'", hint="name the persona, or train all of them with --library"
                )
            return
        given = {"NAME": name, "--data": data.data, "--strict": data.strict}
        given |= {f"--{field}": value for field, value in vars(about).items()}
        wrong = next((flag for flag, value in given.items() if value), None)
        if wrong is not None:
            hint = "choose personas with --personas" if wrong == "NAME" else None
            raise UsageError(f"{wrong} conflicts with --library, whose personas have their own", hint=hint)


@dataclass(frozen=True)
class HeardOptions:
    """Replies that are sampled after training."""

    heard: int = option(
        12,
        metavar="N",
        low=0,
        help="Held-out prompts that the persona answers at the end, to report whether it is heard; 0: none.",
    )


@dataclass(frozen=True)
class AboutOptions:
    """Fields of a new persona file."""

    description: str | None = option(
        None, metavar="TEXT", read=readers.text("--description"), help="Description of the persona."
    )
    prompt: str | None = option(
        None,
        metavar="TEXT",
        read=readers.text("--prompt"),
        help="System prompt for models without an adapter of this persona.",
    )
    license: str | None = option(
        None, metavar="ID", read=readers.text("--license"), help="Licence of the persona, such as CC0-1.0."
    )
    source: str | None = option(
        None,
        metavar="TEXT",
        read=readers.text("--source"),
        help="Source of the persona.",
        shown="the data's file name",
    )
