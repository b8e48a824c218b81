# bash completion for g4
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
