// Looks at the host from outside: what a script has done to it, whatever the script says.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { accessSync, constants, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NOBODY = 65534;
const scripts = join(dirname(fileURLToPath(import.meta.url)), 'scripts');
const WATCHED = ['/', '/etc', '/usr', '/home', '/root', '/tmp', '/var/tmp', '/opt', '/run', '/job', '/dev/shm', scripts, tmpdir(), homedir()];
const ESCAPED = 'code-runner-escaped';
/** A line of /etc/shadow: a name, a hash, the day of the last change. */
const SHADOW = /^[\w-]+:[^:\s]*:\d{5}:/m;

function text(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

export class Witness {
  /** In the environment of everything that the script starts, by which it is found again. */
  mark = `CODE_RUNNER_${randomBytes(8).toString('hex')}`;
  port = 0;
  #connections = 0;
  #corePattern = text('/proc/sys/kernel/core_pattern');
  #server = createServer(socket => {
    ++this.#connections;
    socket.destroy();
  });
  // Of the same user as the script, who may therefore kill it if he can see it.
  #victim = spawn('sleep', ['1000'], { stdio: 'ignore', ...process.getuid() === 0 && { uid: NOBODY, gid: NOBODY } });

  static async start() {
    const witness = new Witness();
    witness.#server.listen(0, '127.0.0.1');
    await Promise.all([once(witness.#server, 'listening'), once(witness.#victim, 'spawn')]);
    witness.port = witness.#server.address().port;
    return witness;
  }

  /** The first that is there. */
  static executable(paths) {
    return paths.find(path => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
  }

  #survivors() {
    return readdirSync('/proc').filter(pid => /^\d+$/.test(pid) && text(`/proc/${pid}/environ`).includes(this.mark));
  }

  /** What the script got away with, in words. */
  problems({ stdout, stderr }) {
    const files = [...new Set(WATCHED)].map(directory => join(directory, ESCAPED)).filter(existsSync);
    for (const file of files) rmSync(file, { force: true });
    const survivors = this.#survivors();
    const found = [
      ...files.map(file => `made ${file}`),
      ...survivors.map(pid => `left process ${pid}`),
      ...this.#connections > 0 ? [`connected to port ${this.port} of the host`] : [],
      ...this.#victim.exitCode !== null || this.#victim.signalCode !== null ? ['killed a process of the host'] : [],
      ...SHADOW.test(stdout + stderr) ? ['read /etc/shadow'] : [],
      ...text('/proc/sys/kernel/core_pattern') !== this.#corePattern ? ['changed core_pattern'] : [],
    ];
    return found.map(what => ({ kind: 'escaped', text: what }));
  }

  stop() {
    this.#victim.kill('SIGKILL');
    this.#server.close();
  }
}
