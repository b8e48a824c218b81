# fish completion for g4
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
