// `contained exec`: a command in a container that runs.
import type { ExecOptions } from '../../types/exec.js';
import type { Command } from './command.js';
import { EXIT_CODES, OWN_ERROR } from './exit.js';
import type { Flag } from './flag.js';
import { FLAGS, type Given } from './flags.js';
import { runInForeground } from './foreground.js';
import { LIMIT_FLAGS, LIMITS_REFUSED, withSwap } from './limits.js';
import { findRunning, ID } from './targets.js';
import { UsageError } from './values.js';

/** What a single command can have of its own. */
const OWN: ReadonlySet<string> = new Set([
  'interactive', 'tty', 'env-inherit', 'env-file', 'env', 'cwd', 'user', 'umask', 'cap-add', 'cap-drop', 'allow-new-privileges', 'no-new-privileges',
  'ulimit', 'cpu-affinity', 'nice', 'oom-score-adj', 'timeout', 'cpu-timeout', 'max-output', 'kill-signal', 'kill-grace', 'stop-timeout', 'trace', 'stats',
  ...LIMIT_FLAGS.map(({ name }) => name),
]);

/** What is said of the defaults of `run` is not so here. */
const ownFlag = (flag: Flag<Given>): Flag<Given> => ({ ...flag, help: flag.help.replace(/ \(default: .*\)$/, '').replace(/, and `contained stop`$/, '') });

export const EXEC: Command<Given> = {
  usage: 'NAME COMMAND [ARGUMENT...]',
  about: 'run another command in a container that runs',
  more: `It sees what the container's first command sees, with its user, privileges, directory and environment where no flag says otherwise; limits are for this command, within those of the container. Its end, or that of contained, is the end of all that it has started. Standard streams are handed on, or with -it joined to a terminal.`,
  examples: ['contained exec -it web sh', 'contained exec -e DEBUG=1 --timeout 5s web node --version'],
  after: EXIT_CODES,
  flags: FLAGS.filter(({ name }) => OWN.has(name)).map(ownFlag),
  refused: {
    ...LIMITS_REFUSED,
    d: 'a command in a container ends with contained; put & behind it',
    detach: 'a command in a container ends with contained; put & behind it',
    privileged: 'name what it needs with --cap-add, --user 0 and --allow-new-privileges',
  },
  words: ['running', 'command', 'file'],
  command: true,
  options: ID,
  failure: OWN_ERROR,
  async act([id, ...words], given) {
    if (id === undefined) throw new UsageError('no container given, as in `contained exec NAME sh`; see `contained ps`');
    const command = words[0] === '--' ? words.slice(1) : words;
    const [file, ...args] = command;
    if (file === undefined) throw new UsageError(`no command given, as in \`contained exec ${id} sh\``);
    const { stats = false, interactive = false, ...options } = withSwap(given);
    const { child } = await findRunning(id, 'run a command in');
    return await runInForeground(options as ExecOptions, { stats, interactive }, ready => child.exec([file, ...args], ready));
  },
};
