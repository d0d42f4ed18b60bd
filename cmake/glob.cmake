# glob(VARIABLE FOLDER [RECURSE] PATTERN...) lists the files below FOLDER that match, relative to it. For file(GLOB) alone a
# folder called "iocp [copy]" is a pattern too, and does not match itself.
function(glob VARIABLE FOLDER)
    cmake_parse_arguments(PARSE_ARGV 2 arg "RECURSE" "" "")
    string(REGEX REPLACE "([[*?])" "[\\1]" patterns_folder "${FOLDER}")
    list(TRANSFORM arg_UNPARSED_ARGUMENTS PREPEND "${patterns_folder}/" OUTPUT_VARIABLE patterns)
    set(mode GLOB)
    if(arg_RECURSE)
        set(mode GLOB_RECURSE)
    endif()
    file(${mode} files RELATIVE "${FOLDER}" ${patterns})
    set(${VARIABLE} ${files} PARENT_SCOPE)
endfunction()
