// Help texts. What concerns flags comes from their table.
import { flagHelp } from './columns.js';
import { RUN_GRAMMAR } from './flags.js';

const EXIT_CODES = `Exit code: that of the command; 128+n when signal n ended it (137: SIGKILL, as after too much memory);
125 error of contained itself, 126 the command cannot be executed, 127 it was not found;
124 after --timeout when the command, asked to end, exits with 0.`;

const RUN = (): string => `Usage: contained run [FLAGS] [--] COMMAND [ARGUMENT...]

Runs a command in a new container and takes everything away when it ends. By default the command sees the
host's files, read-only, as nobody, with a /tmp of its own, and neither processes nor network of the host.
Standard streams are handed on, or with -it joined to a terminal of its own, for which ^C is a key like any
other; SIGINT, SIGTERM, SIGHUP and SIGQUIT are forwarded.

Examples:
  contained run -- sh -c 'id; ps; mount'
  contained run -m 256M --cpus 0.5 --pids-limit 50 --timeout 10s -v "$PWD":/job:ro -w /job -- node script.js
  contained run -it --rootfs ./alpine --hostname box -- /bin/sh

${flagHelp(RUN_GRAMMAR.flags)}

${EXIT_CODES}
`;

const EXPLAIN = `Usage: contained explain [FLAGS] [--] COMMAND [ARGUMENT...]

Prints what \`contained run\` would do with the same flags, step by step, without doing it. \`host\` is done before
the process is made, \`release\` while it sets up and \`undo\` when it has ended; \`child\` by the process, from top to bottom,
up to the command. For the flags see \`contained help run\`.
`;

const PROBE = `Usage: contained probe [--json]

Tells what this host can do, and for each thing that it cannot: cause and remedy.
Exit code: 0 when a full container can be started, else 1.
`;

const SWEEP = `Usage: contained sweep [--json]

Removes the cgroups, and kills the processes in them, that processes of this library left behind when they were
killed together with their launcher. What is still in use is left alone.
Exit code: 0, or 1 when something could not be removed.
`;

const MAIN = `Usage: contained COMMAND

Runs commands in Linux containers: no daemon, no images needed, and nothing left behind.

Commands:
  run        run a command in a container
  explain    show what run would do, without doing it
  cgroup     make, limit, watch and remove cgroups
  probe      what this host can do
  sweep      remove what killed processes left behind
  help       help on one of these, as \`contained help run\`

Flags:
  -h, --help
      --version

Try: contained run -- sh -c 'id; ps; mount'
`;

export const COMMANDS = ['run', 'explain', 'cgroup', 'probe', 'sweep', 'help'] as const;
export type CommandName = typeof COMMANDS[number];

/** That of `cgroup` is with its commands. */
export function helpOn(command: Exclude<CommandName, 'cgroup'>): string {
  switch (command) {
    case 'run': return RUN();
    case 'explain': return EXPLAIN;
    case 'probe': return PROBE;
    case 'sweep': return SWEEP;
    case 'help': return MAIN;
  }
}
