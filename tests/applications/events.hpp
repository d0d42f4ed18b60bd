// Events that a test and the program under test both know by name: for a session that is to wait in the middle.
#pragma once

#include "01-create-port/error.hpp"

#include <string>

inline void set_event(const std::string& name) {
    const HANDLE event = ::OpenEventA(EVENT_MODIFY_STATE, FALSE, name.c_str());
    ::SetEvent(event);
    ::CloseHandle(event);
}

inline void wait_for_event(const std::string& name) {
    const HANDLE event = ::OpenEventA(SYNCHRONIZE, FALSE, name.c_str());
    ::WaitForSingleObject(event, 60'000);
    ::CloseHandle(event);
}
