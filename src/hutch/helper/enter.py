"""Starts commands inside running guests, as lxc-attach does, without its 7 ms of start-up: this process is there already.

Each command is a grandchild: a child enters the guest's control groups and namespaces and starts the command in the guest's pid
namespace as its own sibling, so that this process is the parent that learns the exit status. The command leads a
session of its own (CRIU refuses a guest with sessions from outside) and has init's limits, capabilities and label.

Started as `python -I -S enter.py` with a SOCK_SEQPACKET socket as standard input; ends when that does. A packet is a JSON
object with descriptors beside it:

    -> id, init, started, user, group, cwd, environment, command, groups, profile   + init's pidfd, and the command's stdin, stdout, stderr
       with columns and rows instead of the three descriptors, the command gets a native pty of the guest's devpts
    <- id, pid                    + pidfd of the command, and the pty's master
    <- id, error                  it was not started
    <- id, code                   it has ended: the exit status, or 128 + the signal
"""

import array
import contextlib
import ctypes
import errno
import fcntl
import gc
import json
import os
import resource
import select
import signal
import socket
import stat
import struct
import sys
import termios
import time
from typing import Any, ClassVar, NoReturn

PACKET = 1 << 20
KEPT, MANY = 5.0, 1000
CLONE_PARENT, CLONE_PIDFD = 0x8000, 0x1000
CLONE3, PIDFD_SEND_SIGNAL, CLOSE_RANGE = 435, 424, 436
NAMESPACES = {
    "user": 0x10000000,
    "mnt": 0x20000,
    "pid": 0x20000000,
    "uts": 0x4000000,
    "ipc": 0x8000000,
    "net": 0x40000000,
    "cgroup": 0x2000000,
}
TIOCGPTPEER, TIOCSPTLCK = 0x5441, 0x40045431
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 4, 38, 24, 22, 2
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
SCMP_KILL, SCMP_ALLOW, SCMP_ERRNO, SCMP_MASKED_EQ, SCMP_NO_NEW_PRIVS, SCMP_UNKNOWN, MNT_FORCE = (
    0,
    0x7FFF0000,
    0x50000,
    7,
    3,
    -1,
    1,
)
SCMP_ACTIONS = {"kill": SCMP_KILL, "allow": SCMP_ALLOW, "trap": 0x30000, "log": 0x7FFC0000}
SCMP_LISTS = dict.fromkeys(("denylist", "blacklist"), (SCMP_ALLOW, SCMP_KILL)) | dict.fromkeys(
    ("allowlist", "whitelist"), (SCMP_KILL, SCMP_ALLOW)
)
SCMP_OPERATORS = {
    f"SCMP_CMP_{name}": number for number, name in enumerate(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"), 1)
}
SCMP_COMPAT = {"x86_64": (("x86", 0x40000003), ("x32", 0x4000003E)), "aarch64": (("arm", 0x40000028),)}

Packet = dict[str, Any]
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
programs: dict[str, bytes] = {}


def check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def shield_interpreter() -> None:
    """Run from a read-only mount: a guest that gets hold of /proc/PID/exe must not write to the host's interpreter."""
    if os.environ.get("HUTCH_SHIELDED"):
        return
    program = os.readlink("/proc/self/exe")  # noqa: PTH115
    check(libc.unshare(NAMESPACES["mnt"]), "unshare")
    check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "mount")
    check(libc.mount(program.encode(), program.encode(), None, MS_BIND, None), "mount")
    check(libc.mount(None, program.encode(), None, MS_REMOUNT | MS_BIND | MS_RDONLY, None), "mount")
    os.execve(sys.executable, [sys.executable, "-I", "-S", *sys.argv], {"HUTCH_SHIELDED": "1"})


class Comparison(ctypes.Structure):
    """libseccomp's scmp_arg_cmp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


def seccomp_program(profile: str) -> bytes:
    """The filter that liblxc makes of its `profile` (version 2), as BPF instructions. Raises OSError, ValueError."""
    with open(profile) as file:  # noqa: PTH123
        text = file.read()
    if text not in programs:
        programs[text] = compiled(profile, text)
    return programs[text]


def compiled(profile: str, text: str) -> bytes:
    lines = [words for line in text.splitlines() if (words := line.partition("#")[0].split())]
    if lines[:1] != [["2"]] or len(lines) < 2 or lines[1][0] not in SCMP_LISTS:
        raise ValueError(f"{profile} is not a profile of version 2")
    usual, action = SCMP_LISTS[lines[1][0]]
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    contexts = seccomp_contexts(library, usual)
    chosen = list(contexts.values())
    for words in lines[2:]:
        if words[0].startswith("["):
            section = words[0].strip("[]")
            chosen = list(contexts.values()) if section == "all" else [contexts[section]] if section in contexts else []
        elif words == ["reject_force_umount"]:
            force = Comparison(1, SCMP_MASKED_EQ, MNT_FORCE, MNT_FORCE)
            add_rule(library, chosen, "umount2", SCMP_ERRNO | errno.EACCES, force)
        else:
            add_rule(library, chosen, words[0], *seccomp_rule(profile, words[1:], action))
    whole, *others = contexts.values()
    for other in others:
        check(-abs(library.seccomp_merge(whole, other)), "seccomp_merge")
    with os.fdopen(os.memfd_create("filter"), "w+b") as file:
        check(-abs(library.seccomp_export_bpf(whole, file.fileno())), "seccomp_export_bpf")
        file.seek(0)
        return file.read()


def seccomp_contexts(library: ctypes.CDLL, usual: int) -> dict[str, ctypes.c_void_p]:
    """One for the machine's own architecture, first, and for each that it runs beside, by liblxc's names."""
    machine = os.uname().machine
    native = {"aarch64": "arm64"}.get(machine, machine)
    found = {}
    for name, number in ((native, 0), *SCMP_COMPAT.get(machine, ())):
        context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(usual)))
        library.seccomp_attr_set(context, SCMP_NO_NEW_PRIVS, 0)
        if number:
            library.seccomp_arch_remove(context, ctypes.c_uint32(library.seccomp_arch_native()))
            library.seccomp_arch_add(context, ctypes.c_uint32(number))
        found[name] = context
    return found


def seccomp_rule(profile: str, words: list[str], action: int) -> tuple[Any, ...]:
    """What follows a system call's name: its action (`action` without one) and conditions, as liblxc reads them."""
    words, conditions = list(words), []
    while words and words[-1].startswith("["):
        index, value, operator, *mask = words.pop().strip("[]").split(",")
        plain = int(mask[0], 0) if mask else 0
        masked = operator == "SCMP_CMP_MASKED_EQ"
        first, second = (plain, int(value, 0)) if masked else (int(value, 0), 0)
        conditions.append(Comparison(int(index), SCMP_OPERATORS[operator], first, second))
    if words[:1] == ["errno"] and len(words) == 2:
        action = SCMP_ERRNO | int(words[1])
    elif len(words) == 1 and words[0] in SCMP_ACTIONS:
        action = SCMP_ACTIONS[words[0]]
    elif words:
        raise ValueError(f"{profile} has a rule that is not known: {' '.join(words)}")
    return action, *conditions


def add_rule(library: ctypes.CDLL, contexts: list[ctypes.c_void_p], name: str, action: int, *when: Comparison) -> None:
    call = library.seccomp_syscall_resolve_name(name.encode())
    if call == SCMP_UNKNOWN:
        return
    conditions = (Comparison * len(when))(*when)
    for context in contexts:
        result = library.seccomp_rule_add_array(context, ctypes.c_uint32(action), call, len(when), conditions)
        # a rule that says what is so anyway, or of a system call that the architecture lacks
        if result not in (0, -errno.EACCES, -errno.EDOM, -errno.EEXIST):
            raise OSError(-result, f"seccomp rule for {name}: {os.strerror(-result)}")


def load_filter(program: bytes) -> None:
    instructions = ctypes.create_string_buffer(program, len(program))
    pointer = ctypes.addressof(instructions)
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }
    descriptor = struct.pack("HxxxxxxQ", len(program) // 8, pointer)
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(descriptor), 0, 0), "seccomp")


class Init:
    """What a command takes over from the guest's init, read from the host's /proc; kept for some seconds."""

    known: ClassVar[dict[int, "Init"]] = {}

    @classmethod
    def of(cls, pid: int, started: int) -> "Init":
        found = cls.known.get(pid)
        if found is None or found.started != started or time.monotonic() - found.seen > KEPT:
            if len(cls.known) > MANY:
                cls.known.clear()
            found = cls.known[pid] = cls(pid, started)
        return found

    def __init__(self, pid: int, started: int) -> None:
        self.started, self.seen = started, time.monotonic()
        self.proc = f"/proc/{pid}"
        status = dict(line.split(":", 1) for line in self.text("status").splitlines() if ":" in line)
        self.bounding = int(status["CapBnd"], 16)
        self.filtered = status.get("Seccomp", "0").strip() == "2"
        self.no_new_privs = status.get("NoNewPrivs", "0").strip() == "1"
        self.persona = int(self.text("personality"), 16)
        self.oom_score = self.text("oom_score_adj")
        self.label = ""
        with contextlib.suppress(OSError):
            self.label = self.text("attr/apparmor/current").strip("\0\n").rpartition(" (")[0]
        self.limits = [
            (kind, resource.prlimit(pid, kind)) for kind in range(resource.RLIMIT_CPU, resource.RLIMIT_RTPRIO + 1)
        ]

        self.namespaces = self.different()

    def text(self, name: str) -> str:
        with open(f"{self.proc}/{name}") as file:  # noqa: PTH123
            return file.read()

    def different(self) -> int:
        """The kinds in which it differs from us: entering our own user namespace is an error."""
        flags = 0
        for kind, flag in NAMESPACES.items():
            ours, theirs = (os.stat(f"{proc}/ns/{kind}").st_ino for proc in ("/proc/self", self.proc))  # noqa: PTH116
            flags |= flag if ours != theirs else 0
        return flags


def join_groups(folders: list[str]) -> None:
    """Into the guest's control groups; in version 2 into a leaf of its own, for only leaves may hold processes."""
    for folder in folders:
        target = folder
        if os.path.exists(f"{folder}/cgroup.subtree_control"):  # noqa: PTH110
            target = f"{folder}/.lxc"
            with contextlib.suppress(FileExistsError):
                os.mkdir(target)  # noqa: PTH102
        fd = os.open(f"{target}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, b"0")
        os.close(fd)


def take_over(init: Init) -> None:
    """Limits and out-of-memory score, while this is still the host's root."""
    for kind, limits in init.limits:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, limits)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write(init.oom_score)


def guest_terminal(columns: int, rows: int) -> tuple[int, int]:
    """A pty of the guest's devpts. /dev/ptmx is the guest's to replace: it is opened without waiting and looked at."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(master)
    if not stat.S_ISCHR(found.st_mode) or os.major(found.st_rdev) != 5 or os.minor(found.st_rdev) != 2:
        raise OSError(errno.ENODEV, "the guest's /dev/ptmx is not a pty master")
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if columns and rows:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    return master, slave


def clone_sibling() -> tuple[int, int]:
    """clone3(CLONE_PARENT): 0 in the new process, else its pid and pidfd; its parent is ours."""
    pidfd = ctypes.c_int(-1)
    arguments = struct.pack("11Q", CLONE_PARENT | CLONE_PIDFD, ctypes.addressof(pidfd), *[0] * 9)
    pid = check(libc.syscall(CLONE3, ctypes.c_char_p(arguments), len(arguments)), "clone3")
    return pid, pidfd.value


def errand(request: Packet, fds: list[int], report: socket.socket) -> NoReturn:
    """The child's life: enter, start the command, tell the parent."""
    try:
        init = Init.of(request["init"], request["started"])
        program = seccomp_program(request["profile"]) if init.filtered else b""
        host_proc = os.open("/proc", os.O_PATH | os.O_CLOEXEC) if init.label else -1
        join_groups(request["groups"])
        take_over(init)
        # until it executes the command, nobody in the guest may trace this process or open its descriptors
        check(libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")
        check(libc.setns(fds[0], init.namespaces), "setns")
        # The host's root has no name in a user namespace; what it creates there could not be changed by anybody.
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        stdio, passed = fds[1:4], []
        if "rows" in request:
            master, slave = guest_terminal(request["columns"], request["rows"])
            stdio, passed = [slave] * 3, [master]
        pid, pidfd = clone_sibling()
        if pid == 0:
            command(request, stdio, init, host_proc, program)
        passed = [pidfd, *passed]
        send(report, {"id": request["id"], "pid": pid}, passed)
    except (OSError, ValueError, KeyError) as error:
        send(report, {"id": request["id"], "error": str(error)}, [])
    os._exit(0)


def command(request: Packet, stdio: list[int], init: Init, host_proc: int, program: bytes) -> NoReturn:
    try:
        become(request, stdio, init, host_proc, program)
        os.chdir(request["cwd"])
    except OSError as error:
        os.write(2, f"{request['cwd']}: {error}\n".encode())
        os._exit(126)
    words, environment = request["command"], request["environment"]
    try:
        execute(words, environment)
    except (FileNotFoundError, NotADirectoryError):
        os._exit(127)
    except OSError as error:
        if error.errno == errno.ENOEXEC:
            with contextlib.suppress(OSError):
                os.execve("/bin/sh", ["/bin/sh", *words], environment)
        os._exit(126)


def execute(words: list[str], environment: dict[str, str]) -> NoReturn:
    """As os.execvpe, which would import a module here, where only the guest's files are to be seen."""
    name, denied = words[0], None
    path = environment.get("PATH", os.defpath).split(":")
    for place in [name] if "/" in name else [f"{folder or '.'}/{name}" for folder in path]:
        try:
            os.execve(place, words, environment)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            denied = error
    raise denied or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def become(request: Packet, stdio: list[int], init: Init, host_proc: int, program: bytes) -> None:
    """A session of its own, the terminal, the descriptors, and then less and less power."""
    for number, fd in enumerate(stdio):
        os.dup2(fd, number)
    os.setsid()
    if "rows" in request:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.fchown(0, request["user"], -1)
    os.umask(0o022)
    if init.persona:
        libc.personality(ctypes.c_ulong(init.persona))
    if init.label:
        label = os.open("thread-self/attr/apparmor/exec", os.O_WRONLY | os.O_CLOEXEC, dir_fd=host_proc)
        os.write(label, f"exec {init.label}".encode())
    # The filter and the bounding set need powers that the change of user gives up.
    for capability in range(64):
        if not init.bounding >> capability & 1:
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if init.no_new_privs:
        check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if program:
        load_filter(program)
    os.setgroups([])
    os.setresgid(*[request["group"]] * 3)
    os.setresuid(*[request["user"]] * 3)
    check(libc.syscall(CLOSE_RANGE, 3, ctypes.c_uint(0xFFFFFFFF), 0), "close_range")
    # What was sent since the command exists arrives now, and finds no handler of ours.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def send(channel: socket.socket, packet: Packet, fds: list[int]) -> None:
    extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    channel.sendmsg([json.dumps(packet).encode()], extra)


class Server:
    def __init__(self, daemon: socket.socket) -> None:
        self.daemon = daemon
        self.poll = select.epoll()
        self.poll.register(daemon.fileno(), select.EPOLLIN)
        self.errands: dict[int, tuple[int, socket.socket, int]] = {}
        self.commands: dict[int, int] = {}

    def serve(self) -> None:
        while True:
            for fd, _events in self.poll.poll():
                if fd in self.commands:
                    self.ended(fd)
                elif fd in self.errands:
                    self.reported(fd)
                elif not self.request():
                    return

    def request(self) -> bool:
        data, fds, _flags, _address = socket.recv_fds(self.daemon, PACKET, 4, socket.MSG_CMSG_CLOEXEC)
        if not data:
            return False
        packet = json.loads(data)
        with contextlib.suppress(OSError, ValueError):
            # Learnt here, once, for every child.
            seccomp_program(packet["profile"])
            Init.of(packet["init"], packet["started"])
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = os.fork()
        if child == 0:
            errand(packet, fds, theirs)
        theirs.close()
        for fd in fds:
            os.close(fd)
        self.errands[ours.fileno()] = packet["id"], ours, child
        self.poll.register(ours.fileno(), select.EPOLLIN)
        return True

    def reported(self, fd: int) -> None:
        """An errand is done: pass its packet on and watch the command, the first descriptor in it."""
        number, channel, child = self.errands.pop(fd)
        data, fds, _flags, _address = socket.recv_fds(channel, PACKET, 2, socket.MSG_CMSG_CLOEXEC)
        self.poll.unregister(fd)
        channel.close()
        os.waitpid(child, 0)
        packet = json.loads(data) if data else {"id": number, "error": "the way into the guest broke"}
        send(self.daemon, packet, fds)
        if fds:
            self.commands[fds[0]] = number
            self.poll.register(fds[0], select.EPOLLIN)
        for extra in fds[1:]:
            os.close(extra)

    def ended(self, pidfd: int) -> None:
        number = self.commands.pop(pidfd)
        self.poll.unregister(pidfd)
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
        if result is not None:
            code = result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status
            send(self.daemon, {"id": number, "code": code}, [])


def main() -> None:
    os.closerange(3, 64)
    shield_interpreter()
    # Nothing is imported from here on: inside a guest these folders are the guest's.
    sys.path.clear()
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    # Commands find every signal as after a boot; here all of them are blocked anyway.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    daemon = socket.socket(fileno=0)
    # No collection ever: it would copy the pages that children share.
    gc.disable()
    gc.freeze()
    with contextlib.suppress(ConnectionError):
        Server(daemon).serve()


if __name__ == "__main__":
    main()
