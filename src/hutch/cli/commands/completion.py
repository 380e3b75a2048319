"""Print the completion script for a shell.

bash: hutch completion bash > /usr/share/bash-completion/completions/hutch
zsh:  hutch completion zsh > /usr/share/zsh/vendor-completions/_hutch
fish: hutch completion fish > /usr/share/fish/vendor_completions.d/hutch.fish
"""

from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session


@command(
    arg("shell", choices=("bash", "zsh", "fish"), help="which shell"),
    example="source <(hutch completion bash)",
)
def run(session: Session, options: Options) -> None:
    from hutch.cli.completion import script

    print(script(options.shell), end="")
