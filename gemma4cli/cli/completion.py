"""``g4 completion``: the scripts that let a shell ask g4 how a line may go on.

They speak Typer's protocol for fish, which gives the line itself and gets a word and its meaning
per line. Typer's own scripts leave out ``--model=e``, in bash what is behind a colon (``e2b:8``),
and in zsh the first time.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Shell = Literal["bash", "zsh", "fish"]

_BASH = r"""# bash completion for g4
_g4_completion() {
    local IFS=$'\n' line=${COMP_LINE:0:COMP_POINT} word option='' head='' each
    word=${line##*[[:space:]]}
    if [[ $word == -*=* ]]; then
        option=${word%%=*}=
        word=${word#*=}
    fi
    # Readline replaces what is behind the last of its word breaks only.
    [[ $COMP_WORDBREAKS == *:* && $word == *:* ]] && head=${word%"${word##*:}"}
    [[ $COMP_WORDBREAKS == *=* || -n $head ]] && option=''
    COMPREPLY=()
    for each in $(_G4_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \
                  _TYPER_COMPLETE_ARGS=$line "$1" 2>/dev/null); do
        each=${each%%$'\t'*}
        COMPREPLY+=("$option${each#"$head"}")
    done
}

complete -o default -F _g4_completion g4
"""

_ZSH = r"""#compdef g4

_g4() {
    local line="${(j: :)words[1,CURRENT-1]} $PREFIX" each word
    local -a found
    for each in "${(@f)$(_G4_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \
                         _TYPER_COMPLETE_ARGS=$line ${(Q)words[1]} 2>/dev/null)}"; do
        word=${each%%$'\t'*}
        [[ -n $word ]] && found+=("${word//:/\\:}${${each#"$word"}/$'\t'/:}")
    done
    [[ $PREFIX == -*=* ]] && compset -P '*='
    if (( $#found )); then
        _describe g4 found
    else
        _files
    fi
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _g4 "$@"
else
    compdef _g4 g4
fi
"""

_FISH = r"""# fish completion for g4
function __g4_complete
    set -l word (commandline -ct)
    set -l option (string match -r -- '^-[^=]*=' $word)
    set -l found (env _G4_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \
        _TYPER_COMPLETE_ARGS=(commandline -cp | string collect) g4 2>/dev/null)
    if test -z "$found"
        set found (__fish_complete_path (string replace -- "$option" '' $word))
    end
    for each in $found
        printf '%s\n' "$option$each"
    end
end

complete --command g4 --no-files --arguments '(__g4_complete)'
"""

_SCRIPTS: dict[Shell, str] = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="Whose script.")],
) -> None:
    """Print a shell's completion script.

    bash reads ~/.local/share/bash-completion/completions/g4, zsh a file _g4 in
    a folder of $fpath, fish ~/.config/fish/completions/g4.fish.
    """
    typer.echo(_SCRIPTS[shell], nl=False)
