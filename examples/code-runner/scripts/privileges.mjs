// Tries to become somebody: root by setuid files, other ids, a mount, a debugger on pid 1.
// expect: exit 0
// output: still nobody
import { spawnSync } from 'node:child_process';
const { uid, gid } = { uid: process.getuid(), gid: process.getgid() };
const gained = [
  () => process.setuid(uid === 0 ? 1 : 0),
  () => process.setgroups([0, 42]),
  () => { if (spawnSync('mount', ['-t', 'tmpfs', 'none', '/mnt']).status !== 0) throw new Error('refused'); },
  () => { if (spawnSync('unshare', ['--mount', 'sh', '-c', 'mount -t tmpfs none /mnt']).status !== 0) throw new Error('refused'); },
].filter(attempt => {
  try {
    attempt();
    return true;
  } catch {
    return false;
  }
});
console.log(gained.length === 0 && process.getuid() === uid && process.getgid() === gid ? 'still nobody' : `gained ${gained}`);
