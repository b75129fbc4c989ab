/** What may be done with a device: `r` open it for reading, `w` for writing, `m` make a node of it (mknod(2)). */
export type DeviceAccess = 'r' | 'w' | 'm' | 'rw' | 'rm' | 'wm' | 'rwm';

/**
 * One rule of the device controller, as in the OCI runtime specification (`linux.resources.devices`), plus `path`.
 *
 * Where nothing is said, a device is forbidden. Then these are allowed, as runc does: null, zero, full, random, urandom,
 * tty, ptmx and pts/*, and to make a node of any device, which is not to open it. Then the rules follow in order, and the
 * later one wins. A first rule for all devices comes before what is allowed anyway, so `[{ allow: false }]` is the same as
 * `[]`, and `[{ allow: true }, …]` forbids only what follows. Unlike runc, which adds its own rules at the end, a rule here
 * can take them back: `[{ allow: false, type: 'c' }, { allow: false, type: 'b' }, …]` begins with nothing.
 *
 * cgroup v1 has no exceptions to exceptions, so a rule that takes back only a part of an earlier one (`c 10:229` of
 * `c 10:*`) is refused, on v2 too. There is one exception: a rule for a single device takes back to open it where
 * nodes of any device may be made, and leaves the making.
 */
export interface DeviceRule {
  allow: boolean;
  /** `'c'` character devices, `'b'` block devices, `'a'` all devices with every access. Default `'a'`. */
  type?: 'a' | 'b' | 'c';
  /** Default `'*'`: any. Needs the type `'b'` or `'c'`. */
  major?: number | '*';
  /** As `major`. */
  minor?: number | '*';
  /** Default `'rwm'`. */
  access?: DeviceAccess;
  /** In the place of type, major and minor: those of this device on the host, as `'/dev/fuse'`. */
  path?: string;
}
