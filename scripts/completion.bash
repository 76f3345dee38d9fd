# bash completion for leanpo: commands from `leanpo help`, options from `leanpo COMMAND --help`, so it never lags behind the binary.
_leanpo() {
    local cur=${COMP_WORDS[COMP_CWORD]} cmd=${COMP_WORDS[1]}
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W "$(leanpo help 2>/dev/null | sed -nE 's/^  ([a-z]+) .*/\1/p') --help --version" -- "$cur"))
    elif [[ $cur == --* ]]; then
        COMPREPLY=($(compgen -W "$(leanpo "$cmd" --help 2>/dev/null | grep -oE '^  --[a-z0-9-]+') --help" -- "$cur"))
    else
        COMPREPLY=($(compgen -f -- "$cur"))
    fi
}
complete -o filenames -F _leanpo leanpo
