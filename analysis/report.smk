# The report of what is shipped: `make report`. Included by the Snakefile.


localrules:
    main_data_page,
    grid_data_page,
    other_data_page,
    table_page,
    report_pages,


rule main_data_page:
    message:
        "The data behind {wildcards.figure}"
    input:
        shipped_runs,
    output:
        shown(f"{TREE}/report/{{figure}}_data.html", "data", "6 Data behind the figures"),
    log:
        f"{TREE}/logs/report/{{figure}}_data.log",
    params:
        title=lambda wildcards, output: f"Data behind {Path(output[0]).stem.removesuffix('_data')}",
    shell:
        "python -m analysis.page --title '{params.title}' --runs {input} --output {output} > {log} 2>&1"


use rule main_data_page as grid_data_page with:
    message:
        "The data behind {wildcards.env}_{wildcards.kind}"
    input:
        shipped_grid_runs,
    output:
        shown(f"{TREE}/report/{{env}}_{{kind}}_data.html", "data", "6 Data behind the figures"),
    log:
        f"{TREE}/logs/report/{{env}}_{{kind}}_data.log",


use rule main_data_page as other_data_page with:
    message:
        "The data behind {wildcards.other}"
    input:
        lambda wildcards: {
            "verdict": rules.verdict.input.runs + claimed_published_runs(wildcards),
            "data_quality": rules.data_quality.input,
            "defects": rules.defects.input.runs,
            "offline_target": rules.offline_target.input.runs + rules.offline_target.input.seldom,
        }[wildcards.other],
    output:
        shown(f"{TREE}/report/{{other}}_data.html", "data", "6 Data behind the figures"),
    log:
        f"{TREE}/logs/report/{{other}}_data.log",
    wildcard_constraints:
        other="verdict|data_quality|defects|offline_target",


rule table_page:
    message:
        "The table {wildcards.table}"
    input:
        lambda wildcards: [] if wildcards.table in SHIPPED_TABLES else table_files(wildcards),
    output:
        shown(
            f"{TREE}/report/{{table}}_table.html",
            "table",
            table_category,
            labels={"environment": "several", "figure": "table: {table}", "protocol": ""},
        ),
    log:
        f"{TREE}/logs/report/{{table}}_table.log",
    params:
        files=lambda wildcards: " ".join(
            f"{'--text' if path.endswith('.md') else '--table'} {path}" for path in table_files(wildcards)
        ),
    wildcard_constraints:
        table="|".join(TABLES),
    shell:
        "python -m analysis.page --title 'Table {wildcards.table}' {params.files} --output {output} > {log} 2>&1"


rule report_pages:
    message:
        "Everything that the report shows"
    input:
        rules.figures.input,
        expand(f"{TREE}/report/{{figure}}_data.html", figure=[*MAIN_FIGURES, *GRID_FIGURES]),
        expand(f"{TREE}/report/{{other}}_data.html", other=["verdict", "data_quality", "defects"]),
        f"{TREE}/report/offline_target_data.html" if there(seldom_runs("")) else [],
        expand(f"{TREE}/report/{{table}}_table.html", table=TABLES),
