"""Options that people know from whisper, ollama, llama.cpp, llm and mlx-vlm, as one table."""

from __future__ import annotations

from dataclasses import dataclass

FILE = "<file>"
"""A value of ``OptionHabit.values``: anything that looks like the name of a file."""

NUMBER = "<number>"
"""The same for a whole number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptionHabit:
    """An option that a command does not have, and what to do instead.

    ``instead`` is typed in its place, with the value for ``{}``; if empty, it is left out. A habit
    whose ``instead`` begins with an option that the command lacks does not count. ``advice`` is all
    that is said where no command line would do. ``commands`` and ``values`` limit where it counts.
    """

    typed: tuple[str, ...]
    instead: str = ""
    why: str = ""
    advice: str = ""
    commands: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    takes_value: bool = True


def _of(
    typed: str,
    instead: str = "",
    why: str = "",
    *,
    advice: str = "",
    at: str = "",
    values: str = "",
    flag: bool = False,
) -> OptionHabit:
    return OptionHabit(
        typed=tuple(typed.split()),
        instead=instead,
        why=why,
        advice=advice,
        commands=tuple(at.split()),
        values=tuple(values.split()),
        takes_value=not flag,
    )


_ASKING = "describe video"
_SERVED = "describe transcribe video chat"
_MODEL = f"{_SERVED} trace"
_ALL_CORES = "MLX uses all cores"
_GPU = "MLX uses the GPU if there is one"
_CONVERSES = "without a question, chat is a conversation"
_ONE_TURN = "with a question, chat answers once"
_AT_TERMINALS = "a terminal gets progress, color and wrapped lines, a file does not"
_TEMPLATE = "g4 writes prompts in Gemma's format by itself"
_CACHE = "the cache is as long as the memory allows; --kv-bits 8 makes it smaller"
_TIMES = "times are those of pieces of speech, not of words"
_SAMPLING = "Gemma samples with --temperature, --top-p and --top-k"
_AS_COMPUTED = "the cache has the model's type unless --kv-bits 8 makes it smaller"
_KEYS = "--cache-type-k -ctk --cache-type --kv-cache-type --kv-cache-dtype --kv-cache-quantization"
_VALUES = " --cache-type-v -ctv"
_LENGTH = "-n --n-predict --num-predict --predict --max-new-tokens --max-length --max-output-tokens"
_WHOLE = (
    "transcribe hears whole recordings; cut out a part first: "
    "ffmpeg -i RECORDING -ss START -to END part.wav"
)
_NO_BEAMS = "g4 has no beam search"

OPTION_HABITS: tuple[OptionHabit, ...] = (
    # The question and the files
    _of("--question --query --ask --text --instruction --message", "-p {}"),
    _of(
        "-s --sys --system --system-prompt",
        advice="{command} answers one question: put the instructions into -p, or use g4 chat "
        "--system TEXT with --image or --video",
        at=_ASKING,
    ),
    _of("-s --sys --system-prompt --system-message", "--system {}"),
    _of(
        "--image --images --img --picture --photo -i --input --file -a --attach",
        "{}",
        at="describe",
    ),
    _of("-f", "--file {}", at="chat", values=FILE),
    _of("-f", "{}", "files come without an option", at=f"{_ASKING} transcribe", values=FILE),
    _of("--video --clip --movie -i --input --file -a --attach", "{}", at="video"),
    _of("--audio --wav -i --input --file -a --attach", "{}", at="transcribe"),
    _of("-i --img --picture --photo", "--image {}", at="chat"),
    _of("--sound --wav --voice", "--audio {}", at="chat"),
    _of("--clip --movie", "--video {}", at="chat"),
    _of("--url --urls", "--allow-urls {}"),
    _of(
        "-r -R --recursive",
        why="folders are read with all that is in them",
        flag=True,
        at=f"{_ASKING} transcribe",
    ),
    # Length and sampling
    _of(_LENGTH, why="--max-tokens N is the most that an answer takes", values="-1 -2"),
    _of(_LENGTH, "--max-tokens {}", values=NUMBER),
    _of("-n", "--no-log", flag=True, at="chat"),
    _of(_LENGTH, "--max-tokens {}"),
    *(
        _of("-o", f"--{name}", values=name.replace("-", "_"), at="describe video chat")
        for name in ("temperature", "top-p", "top-k", "max-tokens", "seed")
    ),
    _of("--temp -t", "--temperature {}", at="describe video chat"),
    _of("--temp", "--temperature {}"),
    _of("--nucleus", "--top-p {}"),
    _of(
        "--min-p --typical --typical-p --mirostat --repeat-penalty --repetition-penalty "
        "--frequency-penalty --presence-penalty",
        why=_SAMPLING,
    ),
    _of("--beam-size --num-beams --best-of --patience -bs -bo", why=_NO_BEAMS),
    _of("--thinking --reasoning --enable-thinking --reason", "--think", flag=True),
    _of("--no-thinking --nothink --disable-thinking", "--no-think", flag=True),
    _of("--stream --streaming", why="answers appear as they come", flag=True),
    _of("--no-stream", "-o -", flag=True),
    _of("--think", "--no-think", values="false off no none", flag=True),
    _of("--think", "--think", values="true on yes low medium high", flag=True),
    _of("--hidethinking --hide-thinking --hide-reasoning", "--hide-thoughts", flag=True),
    _of("--stop-sequence --stop-sequences --stop-word --reverse-prompt", "--stop {}"),
    _of("--stop-token --eos-tokens --ignore-eos", why="the checkpoint says which tokens end it"),
    _of("--chat-template --chat-template-file", why=_TEMPLATE),
    _of("--jinja --no-jinja", why=_TEMPLATE, flag=True),
    # The model and the machine
    _of(
        "--model-name --model-path --model-id --model-size --repo --checkpoint --hf-repo -hf -hfr",
        "-m {}",
    ),
    _of("--model-dir --model-directory", advice="name a folder of weights with -m FOLDER"),
    _of("--mmproj -mm", why="the towers for pictures and sound are part of the checkpoint"),
    _of("--adapter-path --adapters --lora --lora-path --lora-modules", "--adapter {}"),
    _of(
        "--draft-model --model-draft -md --num-draft-tokens --draft --draft-max",
        why="g4 has no draft models",
    ),
    _of("--base-url --api-base --api-url --endpoint --host", "--server {}", at=_SERVED),
    _of("--api-key --key", "--token {}", at="serve"),
    _of("--api-key --key", advice="set G4_SERVER_TOKEN to the token of the --server", at=_SERVED),
    _of("--keepalive --keep-alive", why="a model stays loaded in g4 serve and g4 chat only"),
    _of("--flash-attn -fa", why="MLX has an attention of its own", flag=True),
    _of("--max-kv-size", why=_CACHE),
    _of(_KEYS + _VALUES, why="pieces of a transcript are too short to need it", at="transcribe"),
    _of(_VALUES, why="--kv-bits 8 is for keys and values"),
    _of(_KEYS, why=_AS_COMPUTED, values="f16 bf16 f32 auto float16 bfloat16 float32"),
    _of(_KEYS, "--kv-bits 8", "8 bits are the fewest", values="q4_0 q4_1 iq4_nl q5_0 q5_1"),
    _of(_KEYS, "--kv-bits 8"),
    _of("--kv-bits", "--kv-bits 8", "8 bits are the fewest", values="2 3 4 5 6"),
    _of("--kv-bits", why=_AS_COMPUTED, values="16 32"),
    _of("--kv-group-size --quantized-kv-start", why="--kv-bits 8 quantizes groups of 64 at once"),
    _of("--compute-type --precision --torch-dtype", "--dtype {}"),
    _of("--fp16 --half --float16", "--dtype float32", values="false"),
    _of("--fp16 --half --float16", "--dtype float16", flag=True),
    _of("--device", why=_GPU, values="auto cpu gpu cuda cuda:0 mps metal mlx", at=_MODEL),
    _of("--device", why=_GPU, at="describe video trace"),
    _of("-ngl --ngl --gpu-layers --n-gpu-layers --num-gpu", why=_GPU),
    _of("--gpu --cuda --metal --mps --cpu --no-gpu -ng", why=_GPU, flag=True),
    _of("--threads --num-threads --n-threads --cpu-threads -j -t", why=_ALL_CORES),
    _of(
        "--ctx-size --ctx --num-ctx --n-ctx --context-length --max-context -c",
        why="the context is as long as the model and the memory allow",
    ),
    _of("--batch-size -b", "--batch {}"),
    # Speech
    _of(
        "--from --start --start-time --begin --offset --offset-t --ss -ss -ot --to --end "
        "--end-time --until -to --duration -d --clip-timestamps",
        advice=_WHOLE,
        at="transcribe",
    ),
    _of("--processors -p", why=_ALL_CORES, values=NUMBER, at="transcribe"),
    _of(
        "--language --lang",
        advice="ask for the language in the question, such as 'Describe this image in German.'",
        at=f"{_ASKING} chat",
    ),
    _of(
        "--language -l --lang",
        why="the model recognizes the language by itself",
        values="auto detect autodetect none",
        at="transcribe",
    ),
    _of("-l --lang --spoken-language --source-language", "--language {}"),
    _of("--task", values="transcribe transcription asr", at="transcribe"),
    _of("--task", "--translate-to English", values="translate translation", at="transcribe"),
    _of("--target-language --target-lang --to-language", "--translate-to {}"),
    _of("--translate -tr", "--translate-to English", flag=True),
    _of(
        "-p --prompt --initial-prompt --hotwords --terms --keywords --names",
        "--vocabulary {}",
        at="transcribe",
    ),
    _of(
        "--word-timestamps --word-times -owts --output-words --highlight-words --split-on-word "
        "-sow",
        why=_TIMES,
        flag=True,
    ),
    _of("--prepend-punctuations --append-punctuations", why=_TIMES),
    _of("--max-len -ml", "--max-line-width {}", at="transcribe"),
    _of(
        "--max-words-per-line",
        advice="--max-line-width sets how long a line of subtitles is, in letters",
    ),
    _of("--no-timestamps --without-timestamps -nt", why="text has no times", flag=True),
    _of("--suppress-tokens --suppress-blank", why="g4 suppresses no tokens"),
    _of(
        "--carry-initial-prompt",
        why="--vocabulary counts for the whole recording",
        flag=True,
    ),
    _of("--stereo", advice="--channels says which channels are heard", flag=True, at="transcribe"),
    _of(
        "--diarize --diarization --speakers --speaker-labels --tinydiarize -di -tdrz",
        why="g4 does not tell speakers apart",
        flag=True,
    ),
    _of(
        "--num-speakers --min-speakers --max-speakers --hf-token",
        why="g4 does not tell speakers apart",
    ),
    _of(
        "--vad --vad-filter --condition-on-previous-text --no-fallback -nf",
        why="g4 finds speech by itself",
        flag=True,
        at="transcribe",
    ),
    _of(
        "--vad-model -vm --no-speech-threshold --logprob-threshold --compression-ratio-threshold "
        "--hallucination-silence-threshold --temperature-increment-on-fallback",
        why="g4 finds speech and retries bad answers by itself",
    ),
    _of("--microphone --record --listen --live", "--mic", flag=True),
    _of("--list-microphones --list-mics --mics --list-input-devices", "--list-devices", flag=True),
    # Video
    _of("--max-frames --num-frames --n-frames --nframes --frames", "--video-max-frames {}"),
    _of("--start --start-time --begin --offset --ss -ss", "--from {}"),
    _of("--end --end-time --until -to", "--to {}"),
    _of(
        "--chunk --chunk-length --segment-length --segment-time",
        why="g4 cuts recordings at pauses",
        at="transcribe",
    ),
    _of("--chunk --chunk-length --segment-length --segment-time", "--segment {}"),
    _of("--mute --no-sound", "--no-audio", flag=True),
    _of("--detail --image-detail --resolution", "--budget 70", values="low"),
    _of("--detail --image-detail --resolution", "--budget 1120", values="high"),
    _of("--detail --image-detail --resolution", "--budget auto", values="auto"),
    _of("--image-tokens --soft-tokens --max-soft-tokens", "--budget {}"),
    _of(
        "--detail --image-detail --resolution --resize-shape --max-pixels --min-pixels",
        advice="pictures are scaled to their soft tokens: --budget N, from 70 to 1120",
        at="describe video chat",
    ),
    # Output
    _of("--output-dir --out-dir --outdir --output-folder --output-directory -od", "-o {}/"),
    _of("--output-file --out --outfile -of", "-o {}"),
    _of("--format --output-format -f -of", "--json", values="json jsonl", at="video chat"),
    _of("--output-format --out-format", "-f {}"),
    *(
        _of(f"-o{short} --output-{name} --{name}", f"-f {name}", flag=True, at="transcribe")
        for short, name in (("srt", "srt"), ("vtt", "vtt"), ("txt", "txt"), ("json", "json"))
    ),
    _of("-oj -ojf --output-json-full", "-f json", flag=True, at="transcribe"),
    *(
        _of("-f --format", f"-f {name}", values=others, at="transcribe")
        for name, others in (("txt", "text plain"), ("srt", "subrip"), ("vtt", "webvtt"))
    ),
    _of("-olrc --output-lrc", advice="-f takes txt, srt, vtt, tsv, json or all", at="transcribe"),
    _of("-ocsv --output-csv --csv", "-f tsv", flag=True, at="transcribe"),
    _of("--json-schema --response-schema --response-format", "--schema {}", values=FILE),
    _of("--silent --no-progress --no-prints -np", "-q", flag=True),
    _of("--print-progress --print-colors -pp -pc", why=_AT_TERMINALS, flag=True),
    _of("--color --colour --no-color -co", why=_AT_TERMINALS, flag=True),
    _of("--nowordwrap", why=_AT_TERMINALS, flag=True),
    _of("-u --usage", "--json", "--json has the counts of tokens", flag=True, at=_MODEL),
    _of("--verbose", "-q", values="false"),
    _of(
        "-v --verbose -vv --log-level --loglevel",
        "--debug",
        "progress is shown at a terminal, and --debug adds log messages",
        flag=True,
        at=_MODEL,
    ),
    _of("-v -V --version", advice="g4 --version shows the version", flag=True),
    # Conversations
    _of("-sys", "--system {}", at="chat"),
    _of("-cnv --interactive", why=_CONVERSES, flag=True, at="chat"),
    _of("-st --single-turn -no-cnv --no-conversation", why=_ONE_TURN, flag=True, at="chat"),
    _of(
        "-x --extract --extract-last -xl",
        advice="/copy code in a chat copies the code of an answer",
        at="chat",
    ),
    _of("-T --tool --tools --functions", advice="g4 lets the model call no tools"),
    _of("--conversation --cid --session-id --session-name", "--session {}"),
    _of("--resume", "-c", flag=True, at="chat"),
    _of("--no-history --no-save --incognito", "--no-log", flag=True),
    _of("--sessions --list-sessions --logs --history", "--list", flag=True, at="chat"),
    # The program's own
    _of("--list-models --models --list", advice="g4 models list shows the models", flag=True),
    _of(
        "--install-completion --show-completion --completion",
        advice="g4 completion bash --install (or zsh, fish) installs the shell's completion",
        flag=True,
    ),
)
"""The first that counts decides. An option that a command has is none of these, unless a value is
named."""
