"""Every error of g4's own has the exit code that its users were promised."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gemma4cli import errors
from gemma4cli.cli.output.exit_codes import ExitCode, exit_code_of
from gemma4cli.errors import Gemma4Error

CODES = {
    errors.Gemma4Error: 1,
    errors.LoadError: 4,
    errors.BackendMissingError: 4,
    errors.ModelNotFoundError: 4,
    errors.NoModelError: 4,
    errors.DownloadError: 4,
    errors.ModelTooLargeError: 4,
    errors.UnsupportedModelError: 4,
    errors.CheckpointError: 4,
    errors.WeightsMismatchError: 4,
    errors.AdapterError: 4,
    errors.ServerError: 4,
    errors.MediaError: 3,
    errors.MediaNotFoundError: 3,
    errors.MediaDecodeError: 3,
    errors.ChannelNotFoundError: 3,
    errors.TrackNotFoundError: 3,
    errors.NoAudioTrackError: 3,
    errors.NoVideoTrackError: 3,
    errors.MicrophoneError: 3,
    errors.PromptError: 1,
    errors.UnsupportedModalityError: 4,
    errors.PlaceholderMismatchError: 1,
    errors.ConversationError: 3,
    errors.ContextLengthError: 3,
    errors.PromptTooLargeError: 1,
    errors.FunctionsError: 3,
    errors.TuningDataError: 3,
    errors.TuningError: 1,
    errors.TuningTooLargeError: 1,
    errors.OptionError: 2,
    errors.JournalError: 1,
    errors.AnswerCutError: 1,
    errors.SavedConversationError: 1,
    errors.NonFiniteError: 1,
    errors.QueueFullError: 1,
    errors.ClosingError: 1,
    errors.PackagesMissingError: 1,
    errors.RemoteError: 1,
    errors.OutputError: 1,
    errors.OutOfMemoryError: 1,
    errors.OutOfFilesError: 1,
    errors.UnexpectedError: 1,
}


def all_errors(kind: type[Gemma4Error] = Gemma4Error) -> Iterator[type[Gemma4Error]]:
    yield kind
    for below in kind.__subclasses__():
        yield from all_errors(below)


def test_every_error_is_in_the_table() -> None:
    assert set(all_errors()) == {*CODES, errors.ProcessLostError}


def test_the_end_of_another_process_has_its_exit_code() -> None:
    codes = [exit_code_of(errors.ProcessLostError("gone", status)) for status in (1, 4, 77)]
    assert codes == [1, 4, 1]


def test_every_error_has_its_exit_code(subtests: pytest.Subtests) -> None:
    for kind in CODES:
        with subtests.test(kind=kind):
            assert exit_code_of(kind.__new__(kind)) == CODES[kind]


def test_numbers_of_the_contract() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0,
        "FAILED": 1,
        "USAGE": 2,
        "INPUT": 3,
        "MODEL": 4,
        "SOME_FAILED": 5,
        "HUNG_UP": 129,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
    }
