(ns quorate.checkers.epochs
  "Invariant 1: epochs of a service rise by exactly one, and at most one switch is open per service.

  Every list of switches that was ever read is looked at, so that a switch that was there once cannot change or go."
  (:require [quorate.history :as h]))

(defn- one-list [service switches]
  (let [switches (sort-by :epoch switches)
        epochs (map :epoch switches)]
    (concat
     (when-not (= epochs (range (first epochs) (+ (first epochs) (count epochs))))
       [(str service ": the epochs are " (vec epochs))])
     (for [[before after] (partition 2 1 switches) :when (not= (:to before) (:from after))]
       (str service ": epoch " (:epoch after) " leaves " (:from after) ", but epoch " (:epoch before) " went to " (:to before)))
     (for [switch (butlast switches) :when (not (#{:observed :superseded} (:status switch)))]
       (str service ": epoch " (:epoch switch) " is " (name (:status switch)) " while a later one exists")))))

(defn- changed [service all]
  (for [[epoch versions] (group-by :epoch (apply concat all))
        :let [kinds (distinct (map #(select-keys % [:from :to :cause :term :log-index]) versions))]
        :when (> (count kinds) 1)]
    (str service ": epoch " epoch " was told in " (count kinds) " ways: " (vec kinds))))

(defn- acknowledged [history service]
  (let [oks (filter #(= service (get-in % [:value :service])) (h/oks history :switch))]
    (concat
     (for [{{:keys [epoch expected]} :value} oks :when (and expected (not= epoch (inc expected)))]
       (str service ": a switch expected epoch " expected " and got epoch " epoch))
     (for [[epoch times] (frequencies (map #(get-in % [:value :epoch]) oks)) :when (> times 1)]
       (str service ": epoch " epoch " was given to " times " operators")))))

(defn check [history]
  (h/verdict 1 (distinct
                (mapcat (fn [service]
                          (let [all (keep #(seq (get-in % [:value :switches])) (h/lists history service))]
                            (concat (mapcat #(one-list service %) all)
                                    (changed service all)
                                    (acknowledged history service))))
                        (keys (h/services history))))))
