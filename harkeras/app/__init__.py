"""The web app: `harkeras app`, or `streamlit run harkeras/app/main.py`.

Streamlit runs `main.py` anew for each visitor and each click. A page is a module in `views` with a function
`show`, and a line in the table of `main`. Pages draw and call the library; what several of them draw lies
here: choosing a model (`model_choice`), a player with its timeline (`player`), work in a thread that says how
far it is (`jobs`), training in a process of its own (`trainings`), and the folders of visitors (`storage`).

It needs `pip install "harkeras[app]"`.
"""
