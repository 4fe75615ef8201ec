"""The dashboard: is everything alive, what was told, did it arrive; to hush, acknowledge and set up from a browser.

It reads the store through a connection that cannot write, in short reads, and acts by writing events as the shell does
(:mod:`bt_alerts.asking`). It needs Streamlit (``pip install "bt-alerts[dashboard]"``), and is started by
``bt-alerts dashboard``.

====================  =================================================================================
``serve``             the process: which address, which password, how Streamlit is set up
``doorkeeper``        what is refused before Streamlit hears of it
``app``, ``frame``    what Streamlit runs for each visit
``door``              the password
``house``             what pages share: settings that are read anew when they change, the store
``reading``           questions to the store, without Streamlit
``guard``             what is said where there is nothing to show; parts that draw themselves anew
``parts``             pieces that several pages show
``form``              inputs made from the models of the settings
``draft``             the settings file as a visitor is changing it
``saving``            the bar that saves or discards it
``hidden``            what of a settings file may be shown
``trying``            rules that are tried, and checked before
``timelines``         messages over time, of one simulation or two
``outcome``           what came of them
``measuring``         how deliveries did over a span of time
``streaming``         what the live page is told
``embed``             a whole page of ours in a frame
``views``             the pages, one file each
====================  =================================================================================
"""
