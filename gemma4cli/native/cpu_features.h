// What this processor can do and how much of it this process may use.
#pragma once

namespace g4 {

/// Cores that this process may use: those of its affinity mask, counting a core's hardware threads
/// once, and no more than its container's quota.
int usable_cores();

/// Whether products of bfloat16 tiles (AMX) work. The instructions can trap in virtual machines
/// that announce them, so they are tried once, in a child process.
bool has_amx();

}  // namespace g4
