"""Completion scripts: static tables of the commands and options, generated from their declarations.

Only names of instances, images and the like are asked for when Tab is pressed, with `hutch __complete KIND`.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from hutch.cli.command import Argument, Command
from hutch.cli.tree import commands, groups

GLOBAL = (
    Argument("--dir", complete="file"),
    Argument("--project", complete="project"),
    Argument("--quiet", action="store_true"),
)


class Entry(NamedTuple):
    """What can follow a command: commands below it, options, and the kinds of its arguments in order."""

    path: str
    words: list[str]
    options: list[str]
    arguments: list[str]


class Value(NamedTuple):
    """An option that takes a value: what it may be, or the kind of names."""

    path: str
    option: str
    choices: list[str]
    kind: str


def entries() -> list[Entry]:
    found = [Entry(" ".join(path), list(group.members()), ["--help"], []) for path, group in groups()]
    return found + [_entry(" ".join(path), command) for path, command in commands()]


def _entry(path: str, command: Command) -> Entry:
    options = [flag for a in (*command.arguments, *GLOBAL) for flag in a.flags if flag.startswith("--")]
    kinds = [_kind(a) for a in command.arguments if not a.flags[0].startswith("-")]
    last = next((a for a in reversed(command.arguments) if not a.flags[0].startswith("-")), None)
    if last and last.settings.get("nargs") in ("*", "+"):
        kinds[-1] += "+"
    return Entry(path, [], [*options, "--help"], kinds)


def _kind(argument: Argument) -> str:
    if choices := argument.settings.get("choices"):
        return "=" + ",".join(map(str, choices))
    return argument.complete or "-"


def values() -> list[Value]:
    found = []
    for path, command in commands():
        for argument in (*command.arguments, *GLOBAL):
            if argument.flags[0].startswith("-") and not argument.settings.get("action", "").startswith("store_"):
                choices = [str(choice) for choice in argument.settings.get("choices") or ()]
                found += [Value(" ".join(path), flag, choices, argument.complete or "-") for flag in argument.flags]
    return found


def script(shell: str) -> str:
    return SHELLS[shell]()


def _cases(rows: Iterable[tuple[str, str]], form: str) -> str:
    """One line of a shell's case statement for each row that holds something."""
    return "\n".join(form.format(key, text) for key, text in rows if text)


def _tables(form: str) -> dict[str, str]:
    every = entries()
    return {
        "words": _cases(((entry.path, " ".join(entry.words)) for entry in every), form),
        "options": _cases(((entry.path, " ".join(entry.options)) for entry in every), form),
        "arguments": _cases(((entry.path, " ".join(entry.arguments)) for entry in every), form),
        "values": _cases(
            ((f"{v.path} {v.option}", "=" + ",".join(v.choices) if v.choices else v.kind) for v in values()), form
        ),
    }


def _filled(template: str, form: str) -> str:
    for name, text in _tables(form).items():
        template = template.replace(f"@{name}@", text)
    return template


def bash() -> str:
    return _filled(BASH, "        '{}') echo '{}' ;;")


def zsh() -> str:
    return _filled(ZSH, "        '{}') echo '{}' ;;")


def fish() -> str:
    return _filled(FISH, "        case '{}'\n            echo '{}'")


SHELLS: dict[str, Callable[[], str]] = {"bash": bash, "zsh": zsh, "fish": fish}

TABLES = """\
_hutch_words() {
    case "$1" in
@words@
    esac
}

_hutch_options() {
    case "$1" in
@options@
    esac
}

_hutch_arguments() {
    case "$1" in
@arguments@
    esac
}

_hutch_value() {
    case "$1" in
@values@
    *' --dir') echo file ;;
    *' --project') echo - ;;
    esac
}

# Walks down the words before the cursor: the command in $at, how many arguments it has in $count, what the cursor's
# word is a value of in $value, and the global options that name the daemon in $where.
_hutch_walk() {
    local word skip='' below
    at='' count=0 value='' where=''
    for word in "$@"; do
        if [[ -n $skip ]]; then
            case "$skip" in --dir | --project) where+=" $skip=$word" ;; esac
            skip=''
            continue
        fi
        case "$word" in
        --dir=* | --project=*) where+=" $word" ;;
        -*) [[ -n $(_hutch_value "$at $word") ]] && skip=$word ;;
        *)
            below=" $(_hutch_words "$at") "
            if [[ $below == *" $word "* ]]; then at="${at:+$at }$word"; else ((count += 1)); fi
            ;;
        esac
    done
    [[ -n $skip ]] && value=$(_hutch_value "$at $skip")
    return 0
}

"""

BASH = (
    "# bash completion of hutch; made by `hutch completion bash`\n\n"
    + TABLES
    + """\
_hutch_offer() {
    case "$1" in
    file) compopt -o default ;;
    =*) COMPREPLY=($(compgen -W "${1//[=,]/ }" -- "$2")) ;;
    -) ;;
    *) COMPREPLY=($(compgen -W "$(hutch $where __complete "$1" 2>/dev/null)" -- "$2")) ;;
    esac
}

_hutch() {
    local word=${COMP_WORDS[COMP_CWORD]} at count value where kinds kind
    COMPREPLY=()
    _hutch_walk "${COMP_WORDS[@]:1:COMP_CWORD-1}"
    if [[ -n $value ]]; then
        _hutch_offer "$value" "$word"
    elif [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$(_hutch_options "$at")" -- "$word"))
    elif [[ -n $(_hutch_words "$at") ]]; then
        COMPREPLY=($(compgen -W "$(_hutch_words "$at")" -- "$word"))
    else
        read -ra kinds <<<"$(_hutch_arguments "$at")"
        kind=${kinds[count]:-}
        [[ -z $kind && ${#kinds[@]} -gt 0 && ${kinds[-1]} == *+ ]] && kind=${kinds[-1]}
        [[ -n $kind ]] && _hutch_offer "${kind%+}" "$word"
    fi
}

complete -F _hutch hutch
"""
)

ZSH = (
    "#compdef hutch\n# zsh completion of hutch; made by `hutch completion zsh`\n\n"
    + TABLES
    + """\
_hutch_offer() {
    case "$1" in
    file) _files ;;
    '='*) compadd -- ${(s:,:)1#=} ;;
    -) ;;
    *) compadd -- ${(f)"$(hutch ${=where} __complete "$1" 2>/dev/null)"} ;;
    esac
}

_hutch() {
    local at count value where kind
    local -a kinds
    _hutch_walk "${(@)words[2,CURRENT-1]}"
    if [[ -n $value ]]; then
        _hutch_offer "$value"
    elif [[ ${words[CURRENT]} == -* ]]; then
        compadd -- ${=$(_hutch_options "$at")}
    elif [[ -n $(_hutch_words "$at") ]]; then
        compadd -- ${=$(_hutch_words "$at")}
    else
        kinds=(${=$(_hutch_arguments "$at")})
        kind=${kinds[count+1]}
        [[ -z $kind && ${kinds[-1]} == *+ ]] && kind=${kinds[-1]}
        [[ -n $kind ]] && _hutch_offer "${kind%+}"
    fi
}

if [[ $funcstack[1] == _hutch ]]; then _hutch "$@"; else compdef _hutch hutch; fi
"""
)

FISH = """\
# fish completion of hutch; made by `hutch completion fish`

function __hutch_words
    switch "$argv[1]"
@words@
    end
end

function __hutch_options
    switch "$argv[1]"
@options@
    end
end

function __hutch_arguments
    switch "$argv[1]"
@arguments@
    end
end

function __hutch_value
    switch "$argv[1]"
@values@
        case '* --dir'
            echo file
        case '* --project'
            echo -
    end
end

function __hutch_offer
    switch $argv[1]
        case file
            __fish_complete_path (commandline -ct)
        case '=*'
            string split , -- (string sub -s 2 -- $argv[1])
        case -
        case '*'
            hutch $argv[2..-1] __complete $argv[1] 2>/dev/null
    end
end

function __hutch_complete
    set -l words (commandline -opc)
    set -l at ''
    set -l count 0
    set -l skip ''
    set -l where
    for word in $words[2..-1]
        if test -n "$skip"
            contains -- $skip --dir --project; and set -a where "$skip=$word"
            set skip ''
            continue
        end
        switch $word
            case '--dir=*' '--project=*'
                set -a where $word
            case '-*'
                test -n "$(__hutch_value "$at $word")"; and set skip $word
            case '*'
                if contains -- $word (string split ' ' -- (__hutch_words "$at"))
                    set at (string trim -- "$at $word")
                else
                    set count (math $count + 1)
                end
        end
    end
    set -l current (commandline -ct)
    if test -n "$skip"
        __hutch_offer (__hutch_value "$at $skip") $where
    else if string match -q -- '-*' "$current"
        string split ' ' -- (__hutch_options "$at")
    else if test -n "$(__hutch_words "$at")"
        string split ' ' -- (__hutch_words "$at")
    else
        set -l kinds (string split -n ' ' -- (__hutch_arguments "$at"))
        set -l kind $kinds[(math $count + 1)]
        if test -z "$kind"; and test (count $kinds) -gt 0; and string match -q -- '*+' $kinds[-1]
            set kind $kinds[-1]
        end
        test -n "$kind"; and __hutch_offer (string replace -r '\\+$' '' -- $kind) $where
    end
end

complete -c hutch -f -a '(__hutch_complete)'
"""
