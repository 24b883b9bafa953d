"""The documentation site: `make docs`. mkdocs with the theme material lays out docs/; what is here adds the rest.

    hooks.py          what mkdocs calls: pages that are made, links that lead out of docs/, Markdown as GitHub reads it
    repository.py     where the site has a file of the repository
    markdown.py       CommonMark for Python-Markdown; marks of snippets that are not run, made visible
    notebook_pages.py notebooks with their outputs
    commands.py       the commands of the program as values; command_pages.py, manual_page.py write them
    settings.py, exit_codes.py, rest_page.py    the other references that are made from code
    links.py          every link of the built site leads somewhere

Imports modeldist; nothing imports this but tests and the build of packages.
"""
