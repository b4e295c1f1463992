// An offset of the guest is not an offset of the host.
// expect: no viable conversion|could not bind|no matching function
#include "millrace/engine/base/strong_int.h"

using GuestOffset = millrace::StrongInt<struct GuestOffsetTag, unsigned long>;
using HostOffset = millrace::StrongInt<struct HostOffsetTag, unsigned long>;
void Read(HostOffset offset);
void Mix(GuestOffset offset) { Read(offset); }
