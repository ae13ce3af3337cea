"""What a process is and may: its cores and cards, its program, its rank among several, and how it is asked to stop.

machine, devices   its cores, and the device that it computes on
program            which program this is, here and where work is handed to
ranks              the processes of one run, and what they tell each other
stopping           signals that ask a run to stop
reader             who reads what is printed may leave
telemetry          reports of dependencies: off
"""
