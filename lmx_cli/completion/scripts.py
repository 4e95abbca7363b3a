"""The scripts of the shells, and their installation in the user's folders."""

import os
from collections.abc import Mapping
from pathlib import Path

from lmx_daemon.contract.errors import DiskError, UsageError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.durable import write_file

BASH = r"""# Completion of lmx for bash.
_lmx() {
    local IFS=$'\n' line=${COMP_LINE:0:COMP_POINT} head
    local word=${line##* }
    COMPREPLY=( $("$1" __complete "$line" 2>/dev/null | cut -f1) )
    if [[ $word == *[:=]* ]]; then  # bash splits words at these
        head=${word%"${word##*[:=]}"}
        COMPREPLY=( "${COMPREPLY[@]#"$head"}" )
    fi
}
complete -o default -o bashdefault -F _lmx lmx
"""
ZSH = r"""#compdef lmx
# Completion of lmx for zsh.
_lmx() {
    local line word
    local -a found
    for line in ${(f)"$($words[1] __complete "${(j: :)words[1,CURRENT]}" 2>/dev/null)"}; do
        word=${line%%$'\t'*}
        found+=("${word//:/\\:}:${line#*$'\t'}")
    done
    if (( $#found )); then
        _describe lmx found
    else
        _files
    fi
}
if [[ $funcstack[1] == _lmx ]]; then
    _lmx "$@"
else
    compdef _lmx lmx
fi
"""
FISH = r"""# Completion of lmx for fish.
function __lmx_complete
    set -l found (lmx __complete (commandline -cp | string collect) 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c lmx -f -a '(__lmx_complete)'
"""
SCRIPTS: Mapping[str, str] = {"bash": BASH, "zsh": ZSH, "fish": FISH}


class Installation(Frozen, frozen=True):
    """Path of the script of a shell, and the line that makes the shell read it."""

    script: Path
    start: Path | None = None
    """Start-up file of the shell; None if the shell finds the script by its place."""
    line: str = ""


def installation(shell: str, environ: Mapping[str, str]) -> Installation:
    """Return the places of a shell's script. Raises UsageError for another shell."""
    user = Path(environ.get("HOME") or "~").expanduser()
    config = Path(environ.get("XDG_CONFIG_HOME") or user / ".config")
    match shell:
        case "bash":
            script = user / ".bash_completions" / "lmx.sh"
            return Installation(script=script, start=user / ".bashrc", line=f"source '{script}'")
        case "zsh":
            line = "fpath+=~/.zfunc; autoload -Uz compinit; compinit"
            start = Path(environ.get("ZDOTDIR") or user) / ".zshrc"
            return Installation(script=user / ".zfunc" / "_lmx", start=start, line=line)
        case "fish":
            return Installation(script=config / "fish" / "completions" / "lmx.fish")
    raise UsageError(
        f"there is no completion for {shell or 'an unknown shell'}", hint=f"lmx completes in: {', '.join(SCRIPTS)}"
    )


def current_shell(environ: Mapping[str, str]) -> str:
    """Return the name of the user's shell, by $SHELL."""
    return Path(environ.get("SHELL", "")).name


def install(shell: str, environ: Mapping[str, str]) -> Installation:
    """Write the script of a shell, and add one line to its start-up file if it needs one. Raises LmxError."""
    places = installation(shell, environ)
    try:
        places.script.parent.mkdir(parents=True, exist_ok=True)
        write_file(places.script, SCRIPTS[shell].encode())
        if places.start is not None:
            _append(places.start, places.line)
    except OSError as error:
        raise DiskError(
            f"cannot write {error.filename or places.script}: {error.strerror or error}",
            hint=f"print the script with: lmx completion {shell}",
        ) from error
    return places


def _append(file: Path, line: str) -> None:
    """Append a line to a file, unless the file has it. Nothing else of the file is touched."""
    text = file.read_text(errors="replace") if file.exists() else ""
    if line in text.splitlines():
        return
    start = "\n" if text and not text.endswith("\n") else ""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    with os.fdopen(descriptor, "a") as opened:
        opened.write(f"{start}{line}\n")
