# Has PROGRAM write its man page and completions into the folder PAGES.
file(MAKE_DIRECTORY "${PAGES}")
foreach(page IN ITEMS "lacuna.1;--man" "lacuna;--completion;bash" "_lacuna;--completion;zsh" "lacuna.fish;--completion;fish")
  list(POP_FRONT page name)
  execute_process(COMMAND "${PROGRAM}" help ${page} OUTPUT_FILE "${PAGES}/${name}" COMMAND_ERROR_IS_FATAL ANY)
endforeach()
