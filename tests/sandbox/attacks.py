# SPDX-License-Identifier: Apache-2.0
"""Attacks on the machine (ATTACKS) and on the verdict (FORGERIES), each a Python program.

An attack is written so that it would end normally, and so pass, if it succeeded. Names in braces
stand for what `fill` is given. Standard library alone, so that `as_normal_user.py` can use it.
"""

SYSCALL = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nassert libc.syscall({}) >= 0"

ATTACKS = {
    # processes
    "fork bomb": "import os\nwhile True:\n    os.fork()",
    "fork and sleep": "import os, time\nfor _ in range(500):\n    os.fork() or time.sleep(60)",
    "thread bomb": (
        "import threading, time\n"
        "for _ in range(500):\n    threading.Thread(target=time.sleep, args=(60,)).start()"
    ),
    "subprocess bomb": (
        "import subprocess, sys\n"
        "all = [subprocess.Popen([sys.executable, '-c', 'input()']) for _ in range(500)]"
    ),
    "daemon left behind, then a quick end": (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(3600)\nos._exit(0)"
    ),
    "kill the parent": "import os\nassert os.getppid() > 0\nos.kill(os.getppid(), 9)",
    "kill everything": "import os\nos.kill(-1, 9)",
    "kill every number": (
        "import os\ndone = 0\nfor pid in range(2, 5000):\n    try:\n        os.kill(pid, 9)\n"
        "        done += 1\n    except ProcessLookupError:\n        pass\nassert done"
    ),
    "stop itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nwhile True: pass",
    "kill its own group": "import os\nos.killpg(0, 15)\nraise SystemExit",
    # memory
    "one huge allocation": "x = bytearray(50 << 30)",
    "many allocations": "x = []\nwhile True:\n    x.append(bytearray(1 << 20))",
    "a growing string": "x = 'x'\nwhile True:\n    x += x",
    "mapped memory": (
        "import mmap\nm = [mmap.mmap(-1, 1 << 26) for _ in range(100)]\n"
        "for x in m:\n    x.write(b'x' * (1 << 26))"
    ),
    "memory spread over processes": (
        "import os, time\nfor _ in range(40):\n    if os.fork() == 0:\n"
        "        x = os.urandom(1 << 20) * 64\n        time.sleep(60)\ntime.sleep(60)"
    ),
    "endless recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
    "a null pointer": "import ctypes\nctypes.string_at(0)",
    "a huge power": "x = 10 ** 10 ** 10",
    "a zip bomb": "import zlib\nx = zlib.decompress(zlib.compress(bytes(1 << 28)) * 1) * 9",
    # time
    "an endless loop": "while True: pass",
    "a long sleep": "import time\ntime.sleep(3600)",
    "signals ignored": (
        "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except OSError: pass\nwhile True: pass"
    ),
    "a catastrophic pattern": "import re\nre.match('(a+)+$', 'a' * 64 + 'b')",
    "waiting for input": "while True:\n    import time; time.sleep(1)\n    input()",
    # output
    "endless output": "while True: print('x' * 10000)",
    "endless errors": "import sys\nwhile True: sys.stderr.write('x' * 10000)",
    "one huge line": "print('x' * (1 << 27))",
    "raw output": "import os\nwhile True: os.write(1, b'x' * 65536)",
    # network
    "a connection outside": "import socket\nsocket.create_connection(('1.1.1.1', 443), 0.5)",
    "a name lookup": "import socket\nsocket.gethostbyname('example.com')",
    "a datagram": (
        "import socket\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53))"
    ),
    "a connection to this machine": (
        "import socket\nsocket.create_connection(('127.0.0.1', {port}), 0.5)"
    ),
    "a raw socket": "import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    # files
    "the home folder": "import os\nassert os.listdir('{home}/.ssh') or os.listdir('{home}')[3]",
    "keys": "print(open('/root/.ssh/id_rsa').read())",
    "the users' list": "print(open('/etc/passwd').read())",
    "the passwords": "print(open('/etc/shadow').read())",
    "this project": "import os\nassert os.listdir('{project}')",
    "a planted secret": "print(open('{secret}').read())",
    "a secret in the environment": "import os\nprint(os.environ['CODEGEMMA_TOKEN'])",
    "the first process's environment": "assert b'TOKEN' in open('/proc/1/environ', 'rb').read()",
    "every process's environment": (
        "import glob\nfound = b''\nfor p in glob.glob('/proc/*/environ'):\n"
        "    try: found += open(p, 'rb').read()\n    except OSError: pass\nassert b'TOKEN' in found"
    ),
    "a file in /usr": "open('/usr/written', 'w').write('x')",
    "a file in /etc": "open('/etc/written', 'w').write('x')",
    "a file in the root": "open('/written', 'w').write('x')",
    "the server's own file": "open('/sandbox/inside.py', 'a').write('x')",
    "out by dots": "open('../../../../../../written', 'w').write('x')",
    "a file in /dev": "open('/dev/written', 'w').write('x')",
    "a symbolic link": "import os\nos.symlink('{secret}', 'link')\nprint(open('link').read())",
    "a link to a device": "import os\nos.mknod('disk', 0o60666, os.makedev(254, 0))",
    "a hard link": "import os\nos.link('/usr/bin/env', 'env')",
    "the disk full": "f = open('big', 'wb')\nwhile True: f.write(bytes(1 << 20))",
    "files without end": "n = 0\nwhile True:\n    open(str(n), 'w').write('x' * 4096)\n    n += 1",
    "descriptors without end": "x = [open('/dev/null') for _ in range(100000)]",
    # the kernel
    "a mount": SYSCALL.format("165, b'tmpfs', b'/tmp', b'tmpfs', 0, 0"),
    "a new namespace": SYSCALL.format("272, 0x10000000"),
    "tracing": SYSCALL.format("101, 16, 2, 0, 0"),
    "another root": "import os\nos.chroot('/tmp')",
    "another user": "import os\nos.setuid(0)\nassert os.getuid() == 0",
    "a clone with namespaces": SYSCALL.format("56, 0x10000011, 0, 0, 0, 0"),
    "the server's memory": (
        "import glob\nfor p in glob.glob('/proc/[0-9]*/mem'):\n"
        "    if p.split('/')[2] in ('1', '2'):\n        open(p, 'r+b')\n"
        "        break\nelse:\n    raise OSError"
    ),
    "keys of the kernel": SYSCALL.format("248, b'user', b'x', b'x', 1, -3"),
    "a program in the kernel": SYSCALL.format("321, 0, 0, 0"),
    "a reboot": SYSCALL.format("169, 0xfee1dead, 672274793, 0x1234567, 0"),
    # the verdict
    "sys.exit(0)": "import sys\nsys.exit(0)",
    "os._exit(0)": "import os\nos._exit(0)",
    "quit": "raise SystemExit(0)",
    "every descriptor written to": (
        "import os\nfor fd in range(3, 256):\n    try: os.write(fd, b'0' * 32)\n"
        "    except OSError: pass\nos._exit(0)"
    ),
    "a closed verdict": "import os\nos.closerange(3, 256)",
    "another program in its place": "import os\nos.execv('/bin/true', ['true'])",
}

FORGERIES = {
    "an object equal to all": (
        "class Any:\n    def __eq__(self, other): return True\n"
        "    def __bool__(self): return True\n"
        "def answer(): return Any()"
    ),
    "a number equal to all": (
        "class Any(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
        "def answer(): return Any(0)"
    ),
    "a list of such objects": (
        "class Any:\n    def __eq__(self, other): return True\ndef answer(): return [Any()]"
    ),
    "a way out of the tests": "import sys\ndef answer(): sys.exit(0)",
    "a quick way out": "import os\ndef answer(): os._exit(0)",
    "tests that are replaced": "def answer(): return 0\ndef check(candidate): pass",
    "errors that are replaced": (
        "import builtins\nclass Quiet(BaseException): pass\nbuiltins.AssertionError = Quiet\n"
        "def answer(): return 0"
    ),
    "a trace that jumps over the line": (
        "import sys\ndef jump(frame, event, argument): return jump\nsys.settrace(jump)\n"
        "def answer(): return 0"
    ),
}


def fill(source: str, bait: dict[str, str]) -> str:
    """Put the bait in the place of its names."""
    for name, value in bait.items():
        source = source.replace("{" + name + "}", value)
    return source
