// Linked into every program here: one that crashes, aborts or fails an assertion says so on stderr and ends at once.
// Without this, Windows and Microsoft's Debug run-time open a dialog and wait for somebody to close it.
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

#ifdef _MSC_VER
#include <crtdbg.h>
#include <stdlib.h>

#include <initializer_list>
#endif

namespace {

[[maybe_unused]] const bool no_dialogs = [] {
    if (::IsDebuggerPresent()) return false;  // which shows the place better than any text
    ::SetErrorMode(::GetErrorMode() | SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
#ifdef _MSC_VER
    _set_abort_behavior(0, _CALL_REPORTFAULT);
    _set_error_mode(_OUT_TO_STDERR);
#ifdef _DEBUG
    for (const int kind : {_CRT_WARN, _CRT_ERROR, _CRT_ASSERT}) {
        _CrtSetReportMode(kind, _CRTDBG_MODE_FILE);
        _CrtSetReportFile(kind, _CRTDBG_FILE_STDERR);
    }
#endif
#endif
    return true;
}();

}  // namespace
